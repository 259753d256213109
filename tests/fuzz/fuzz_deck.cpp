// A deck, and behind a separator an override (--set). A deck written down reads the same.

#include "base/deck.hpp"
#include "fuzzing.hpp"
#include "model/model_config.hpp"
#include "train/train_settings.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::vector<std::string_view> parts = split_files(text(data, size), 2);
    std::vector<std::string> overrides;
    if (!parts[1].empty()) overrides.emplace_back(parts[1]);
    refusal([&] {
        Deck deck = Deck::parse(std::string(parts[0]), "deck", overrides);
        const bool accepted = !refusal([&] { read_model_config(deck, 34); }) &&
                              !refusal([&] { read_train_settings(deck); }) &&
                              !refusal([&] { deck.refuse_unknown_keys(); });
        // toml++ writes keys with quotes in them, which no deck has, in a way that it cannot read.
        if (accepted) {
            const std::string canonical = deck.canonical();
            std::optional<Deck> again;
            const auto refused = refusal([&] { again = Deck::parse(canonical, "canonical deck"); });
            require(!refused, "a deck that was written down can be read: " + refused.value_or(""));
            require(deck_changes(deck, *again).empty(), "a deck that was written down reads the same");
        }
        // Keys of every kind, of a deck that names any.
        for (const auto& [key, value] : deck.values()) {
            const std::string name = key;
            refusal([&] { deck.integer(name, 1, -5, 5); });
            refusal([&] { deck.number(name, 1, 0, 1); });
            refusal([&] { deck.duration(name, 1); });
            refusal([&] { deck.flag(name, true); });
            refusal([&] { deck.choice(name, "one", {"one", "two"}); });
        }
        refusal([&] { deck.refuse_unknown_keys(); });
    });
    return 0;
}
