#pragma once
// TOML input decks: typed access by dotted key ("train.steps"); an unknown or misspelt key is an error that names the
// nearest known one. Every error names the file, the line and the key.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace protalbert {

class Deck {
  public:
    /// Reads a TOML file and applies `overrides` ("train.steps=100", the value in TOML syntax, a bare word counts as a
    /// string). Throws InputError.
    static Deck read(const std::string& file, const std::vector<std::string>& overrides = {});
    static Deck parse(const std::string& text, const std::string& name, const std::vector<std::string>& overrides = {});

    // Each getter marks its key as known, with the default when absent. Wrong types and values outside the range are
    // InputErrors with file, line, key and what is allowed.
    bool has(const std::string& key) const;
    std::string text(const std::string& key, const std::string& fallback);
    std::string required_text(const std::string& key);
    /// A path, in which ~ and $NAME are replaced (see path_text.hpp); the fallback is taken as it is.
    std::string path(const std::string& key, const std::string& fallback);
    std::string required_path(const std::string& key);
    /// The variables in paths, in place of this process's environment.
    void use_variables(std::map<std::string, std::string> variables);
    /// One of `choices`.
    std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices);
    std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t smallest, std::int64_t largest);
    double number(const std::string& key, double fallback, double smallest, double largest);
    bool flag(const std::string& key, bool fallback);
    /// A duration: seconds as a number, or "HH:MM:SS", "90m", "23h30m"; 0 means none.
    double duration(const std::string& key, double fallback);

    /// Throws InputError for the first key that no getter asked for, with the nearest known one.
    void refuse_unknown_keys() const;

    /// "FILE:LINE: KEY", for messages about a value.
    std::string place(const std::string& key) const;
    /// The deck with its overrides, as TOML: stored in checkpoints.
    std::string canonical() const;
    /// Every value by its dotted key, as TOML.
    std::map<std::string, std::string> values() const;
    const std::string& name() const { return name_; }

  private:
    struct Table;
    std::shared_ptr<Table> table_;
    std::string name_;
};

/// A key whose value differs between two decks; empty where a deck has none.
struct DeckChange {
    std::string key, before, after;
};
std::vector<DeckChange> deck_changes(const Deck& before, const Deck& after);

}  // namespace protalbert
