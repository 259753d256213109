#include "base/deck.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/path_text.hpp"
#include "base/text.hpp"
#include "base/text_file.hpp"

namespace protalbert {

namespace {

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == separator)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t");
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Levenshtein's distance: insertions, deletions and replacements that turn one word into the other.
std::size_t edit_distance(const std::string& from, const std::string& to) {
    std::vector<std::size_t> row(to.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < from.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < to.size(); ++j) {
            const std::size_t replaced = diagonal + (from[i] != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

template <class Words>
std::string nearest(const std::string& word, const Words& words) {
    return *std::min_element(words.begin(), words.end(), [&](const std::string& left, const std::string& right) {
        return edit_distance(word, left) < edit_distance(word, right);
    });
}

/// "a string", and the value as written.
std::string describe(const toml::node& node) {
    if (node.is_table()) return "a table";
    if (node.is_array()) return "an array";
    std::ostringstream value;
    node.visit([&](const auto& concrete) {
        if constexpr (toml::is_value<decltype(concrete)>) value << toml::node_view<const toml::node>(concrete);
    });
    const char* type = node.is_string()           ? "the string "
                       : node.is_integer()        ? "the integer "
                       : node.is_floating_point() ? "the number "
                       : node.is_boolean()        ? "the flag "
                                                  : "the date or time ";
    return type + value.str();
}

/// A whole or floating-point number, the nearest there is (toml++ converts none that is not exact in a double).
std::optional<double> number_of(const toml::node& node) {
    if (const auto* whole = node.as_integer()) return static_cast<double>(whole->get());
    if (const auto* number = node.as_floating_point()) return number->get();
    return std::nullopt;
}

std::string describe_range(double smallest, double largest) {
    const bool below = smallest > -std::numeric_limits<double>::max();
    const bool above = largest < std::numeric_limits<double>::max();
    if (below && above) return fmt::format("from {} to {}", smallest, largest);
    if (below) return fmt::format("of at least {}", smallest);
    if (above) return fmt::format("of at most {}", largest);
    return "that are finite";
}

std::string describe_range(std::int64_t smallest, std::int64_t largest) {
    if (largest == std::numeric_limits<std::int64_t>::max()) return fmt::format("of at least {}", smallest);
    return fmt::format("from {} to {}", smallest, largest);
}

/// A whole number without sign at the start of `text`, which it removes; nothing when there is none.
std::optional<std::uint64_t> take_number(std::string_view& text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

/// Seconds of "HH:MM:SS", "D-HH:MM:SS", "1d2h3m4s" or "3600"; nothing when it is none of these.
std::optional<double> parse_duration(std::string_view text) {
    if (text.empty()) return std::nullopt;
    double seconds = 0;
    if (text.find(':') != std::string_view::npos) {
        double days = 0;
        if (text.find('-') != std::string_view::npos) {
            const auto number = take_number(text);
            if (!number || text.empty() || text.front() != '-') return std::nullopt;
            text.remove_prefix(1);
            days = static_cast<double>(*number);
        }
        for (int part = 0; part < 3; ++part) {
            const auto number = take_number(text);
            if (!number || (part > 0 && *number > 59)) return std::nullopt;
            seconds = 60 * seconds + static_cast<double>(*number);
            if (part < 2) {
                if (text.empty() || text.front() != ':') return std::nullopt;
                text.remove_prefix(1);
            }
        }
        return text.empty() ? std::optional(seconds + 86400 * days) : std::nullopt;
    }
    double larger_unit = std::numeric_limits<double>::infinity();
    while (!text.empty()) {
        const auto number = take_number(text);
        if (!number) return std::nullopt;
        if (text.empty()) return seconds == 0 ? std::optional(static_cast<double>(*number)) : std::nullopt;
        const char letter = text.front();
        text.remove_prefix(1);
        const double unit = letter == 'd' ? 86400 : letter == 'h' ? 3600 : letter == 'm' ? 60 : letter == 's' ? 1 : 0;
        if (unit == 0 || unit >= larger_unit) return std::nullopt;
        larger_unit = unit;
        seconds += static_cast<double>(*number) * unit;
    }
    return seconds;
}

}  // namespace

struct Deck::Table {
    toml::table root;
    std::set<std::string> known;
    std::set<std::string> overridden;
    std::optional<std::map<std::string, std::string>> variables;  ///< none: the environment's

    const toml::node* find(const std::string& key) const {
        const toml::node* node = &root;
        for (const std::string& part : split(key, '.')) {
            const toml::table* table = node->as_table();
            node = table ? table->get(part) : nullptr;
            if (!node) return nullptr;
        }
        return node;
    }

    const toml::node* ask(const std::string& key) {
        known.insert(key);
        return find(key);
    }

    std::string place(const std::string& name, const std::string& key, const toml::node* node) const {
        if (overridden.contains(key)) return "--set " + key;
        const auto line = node ? node->source().begin.line : 0;
        return line > 0 ? fmt::format("{}:{}: {}", name, line, key) : fmt::format("{}: {}", name, key);
    }

    /// Sets `key=value` from the command line.
    void override_with(const std::string& text) {
        // Decks are stored as TOML, which is UTF-8.
        if (!is_utf8(text))
            throw InputError(fmt::format(
                "--set {}: is not UTF-8; give such a path by a variable of the environment: --set 'KEY=$NAME'",
                valid_utf8(text)));
        const auto equals = text.find('=');
        const std::string key = trimmed(text.substr(0, equals));
        const std::vector<std::string> parts = split(key, '.');
        if (equals == std::string::npos || std::count(parts.begin(), parts.end(), "") > 0)
            throw InputError(fmt::format("--set {}: write it as table.key=value, for example train.steps=100", text));
        toml::table* table = &root;
        for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
            toml::node* next = table->get(parts[i]);
            if (!next) next = &table->emplace<toml::table>(parts[i], toml::table{}).first->second;
            table = next->as_table();
            if (!table) throw InputError(fmt::format("--set {}: {} is a value, not a table", text, parts[i]));
        }
        const std::string value = trimmed(text.substr(equals + 1));
        try {
            toml::table parsed = toml::parse("value = " + value);
            toml::node* node = parsed.get("value");
            // A time like 01:30:00 or a date is more often a bare word: getters that want one read the string.
            if (parsed.size() == 1 && (node->is_string() || node->is_number() || node->is_boolean() ||
                                       node->is_array() || node->is_table())) {
                table->insert_or_assign(parts.back(), std::move(*node));
                overridden.insert(key);
                return;
            }
        } catch (const toml::parse_error&) {
        }
        table->insert_or_assign(parts.back(), value);
        overridden.insert(key);
    }

    /// All values with their dotted keys, in the order of the file; an empty table counts as a value.
    void flatten(const toml::table& table, const std::string& prefix,
                 std::vector<std::pair<std::string, const toml::node*>>& leaves) const {
        for (const auto& [key, node] : table) {
            const std::string part(key.str());
            const bool ambiguous = part.empty() || part.find('.') != std::string::npos;
            const std::string path = prefix + (ambiguous ? fmt::format("\"{}\"", part) : part);
            const toml::table* inner = node.as_table();
            if (inner && !inner->empty())
                flatten(*inner, path + ".", leaves);
            else
                leaves.emplace_back(path, &node);
        }
    }
};

Deck Deck::read(const std::string& file, const std::vector<std::string>& overrides) {
    return parse(read_plain_text(file, "deck"), file, overrides);
}

Deck Deck::parse(const std::string& text, const std::string& name, const std::vector<std::string>& overrides) {
    Deck deck;
    deck.name_ = name;
    deck.table_ = std::make_shared<Table>();
    try {
        deck.table_->root = toml::parse(text, name);
    } catch (const toml::parse_error& error) {
        throw InputError(
            fmt::format("{}:{}: not valid TOML: {}", name, error.source().begin.line, error.description()));
    }
    for (const std::string& line : overrides) deck.table_->override_with(line);
    return deck;
}

bool Deck::has(const std::string& key) const { return table_->find(key) != nullptr; }

std::string Deck::text(const std::string& key, const std::string& fallback) {
    const toml::node* node = table_->ask(key);
    if (!node) return fallback;
    if (!node->is_string())
        throw InputError(fmt::format("{} must be a string, but is {}", place(key), describe(*node)));
    const std::string& text = node->as_string()->get();
    // It would be lost when the deck is written down for a checkpoint and read again.
    if (text.starts_with('\n') || text.starts_with('\r'))
        throw InputError(fmt::format("{} begins with a line end; write it without", place(key)));
    return text;
}

std::string Deck::required_text(const std::string& key) {
    if (!table_->ask(key)) throw InputError(fmt::format("{} is missing; add it or give --set {}=...", place(key), key));
    return text(key, "");
}

std::string Deck::path(const std::string& key, const std::string& fallback) {
    const std::string written = text(key, fallback);
    if (!has(key)) return written;
    return expand_path(written, table_->variables ? *table_->variables : environment_variables(), place(key));
}

std::string Deck::required_path(const std::string& key) {
    required_text(key);
    return path(key, "");
}

void Deck::use_variables(std::map<std::string, std::string> variables) { table_->variables = std::move(variables); }

std::string Deck::choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices) {
    const std::string chosen = text(key, fallback);
    if (std::find(choices.begin(), choices.end(), chosen) == choices.end())
        throw InputError(fmt::format("{} is \"{}\"; it must be one of \"{}\"; did you mean \"{}\"?", place(key), chosen,
                                     fmt::join(choices, "\", \""), nearest(chosen, choices)));
    return chosen;
}

std::int64_t Deck::integer(const std::string& key, std::int64_t fallback, std::int64_t smallest, std::int64_t largest) {
    const toml::node* node = table_->ask(key);
    if (!node) return fallback;
    const auto* whole = node->as_integer();
    if (!whole)
        throw InputError(fmt::format("{} must be a whole number {}, but is {}", place(key),
                                     describe_range(smallest, largest), describe(*node)));
    const std::int64_t value = whole->get();
    if (value < smallest || value > largest)
        throw InputError(fmt::format("{} is {}; it must be a whole number {}", place(key), value,
                                     describe_range(smallest, largest)));
    return value;
}

double Deck::number(const std::string& key, double fallback, double smallest, double largest) {
    const toml::node* node = table_->ask(key);
    if (!node) return fallback;
    const std::optional<double> found = number_of(*node);
    if (!found)
        throw InputError(fmt::format("{} must be a number {}, but is {}", place(key), describe_range(smallest, largest),
                                     describe(*node)));
    const double value = *found;
    if (!(value >= smallest && value <= largest))  // also refuses "nan"
        throw InputError(
            fmt::format("{} is {}; it must be a number {}", place(key), value, describe_range(smallest, largest)));
    return value;
}

bool Deck::flag(const std::string& key, bool fallback) {
    const toml::node* node = table_->ask(key);
    if (!node) return fallback;
    if (!node->is_boolean())
        throw InputError(fmt::format("{} must be true or false, but is {}", place(key), describe(*node)));
    return node->as_boolean()->get();
}

double Deck::duration(const std::string& key, double fallback) {
    const toml::node* node = table_->ask(key);
    if (!node) return fallback;
    std::optional<double> seconds;
    if (node->is_number()) {
        seconds = number_of(*node);
    } else if (node->is_string()) {
        seconds = parse_duration(trimmed(node->as_string()->get()));
    } else if (const auto* time = node->as_time()) {  // 01:30:00 without quotes is a time of day in TOML
        seconds = 3600.0 * time->get().hour + 60.0 * time->get().minute + time->get().second;
    }
    if (!seconds || !(*seconds >= 0) || !std::isfinite(*seconds))
        throw InputError(fmt::format(
            "{} must be a duration: seconds as a number, \"HH:MM:SS\", \"90m\" or \"23h30m\" (0: none), but is {}",
            place(key), describe(*node)));
    return *seconds;
}

void Deck::refuse_unknown_keys() const {
    std::vector<std::pair<std::string, const toml::node*>> leaves;
    table_->flatten(table_->root, "", leaves);
    std::stable_sort(leaves.begin(), leaves.end(), [](const auto& left, const auto& right) {
        return left.second->source().begin.line < right.second->source().begin.line;
    });
    for (const auto& [key, node] : leaves) {
        if (table_->known.contains(key)) continue;
        const std::string place = table_->place(name_, key, node);
        const std::string prefix = key + ".";
        const auto inside = table_->known.lower_bound(prefix);
        const bool is_table = inside != table_->known.end() && inside->starts_with(prefix);
        if (is_table && node->is_table()) continue;  // an empty table of a known name says nothing wrong
        if (is_table) throw InputError(fmt::format("{} must be a table, but is {}", place, describe(*node)));
        throw InputError(
            fmt::format("{} is not a known key{}", place,
                        table_->known.empty() ? std::string() : "; did you mean " + nearest(key, table_->known) + "?"));
    }
}

std::string Deck::place(const std::string& key) const { return table_->place(name_, key, table_->find(key)); }

std::string Deck::canonical() const {
    std::ostringstream text;
    text << table_->root << "\n";
    return text.str();
}

std::map<std::string, std::string> Deck::values() const {
    std::vector<std::pair<std::string, const toml::node*>> leaves;
    table_->flatten(table_->root, "", leaves);
    std::map<std::string, std::string> values;
    for (const auto& [key, node] : leaves) {
        std::ostringstream text;
        text << toml::node_view<const toml::node>(node);
        values.emplace(key, text.str());
    }
    return values;
}

std::vector<DeckChange> deck_changes(const Deck& before, const Deck& after) {
    std::map<std::string, DeckChange> changes;
    for (const auto& [key, value] : before.values()) changes[key] = {key, value, ""};
    for (const auto& [key, value] : after.values()) {
        changes[key].key = key;
        changes[key].after = value;
    }
    std::vector<DeckChange> list;
    for (auto& [key, change] : changes)
        if (change.before != change.after) list.push_back(std::move(change));
    return list;
}

}  // namespace protalbert
