#include "probe/split.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace protalbert {
namespace {

constexpr const char* remedy = "write SET=train, SET=test or SET=validation (or VALIDATION=True beside SET=train)";

bool is_letter(char byte) { return std::isalpha(static_cast<unsigned char>(byte)) != 0; }
bool is_upper(char byte) { return std::isupper(static_cast<unsigned char>(byte)) != 0; }

std::string lower(std::string_view text) {
    std::string word;
    for (const char byte : text) word += static_cast<char>(std::tolower(static_cast<unsigned char>(byte)));
    return word;
}

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

/// What begins with train, test or valid, as testset and training do, or ends in one of them, as istest and
/// crossvalidation do; but not strain, testis or protest.
bool is_split_word(std::string_view word) {
    constexpr std::array<std::string_view, 4> firsts{"train", "testing", "tested", "valid"};
    constexpr std::array<std::string_view, 5> lasts{"train", "test", "training", "testing", "validation"};
    // Testis, testosterone, testudo, testes, testacea.
    constexpr std::array<std::string_view, 5> firsts_of_others{"testi", "testo", "testu", "teste", "testac"};
    constexpr std::array<std::string_view, 7> lasts_of_others{"strain", "protest",  "contest", "attest",
                                                              "latest", "greatest", "shortest"};
    const auto begins = [&](std::string_view first) { return word.starts_with(first); };
    const auto ends = [&](std::string_view last) { return word.ends_with(last); };
    const auto any = [](const auto& parts, const auto& holds) {
        return std::any_of(parts.begin(), parts.end(), holds);
    };
    return any(firsts, begins) || (begins("test") && !any(firsts_of_others, begins)) ||
           (any(lasts, ends) && !any(lasts_of_others, ends));
}

/// KEY=VALUE or KEY:VALUE.
struct Field {
    std::string text;
    char sign = '=';
    std::string key, value;  ///< without case
};

/// Whether a field that is neither SET= nor VALIDATION= seems to be about the split.
bool seems_of_split(const Field& field) {
    // UniProt's organism, its number, gene, evidence and version, and others' genes and residues: none of them is ours.
    constexpr std::array<std::string_view, 12> others{
        "os", "ox", "gn", "pe", "sv", "gene", "gene_symbol", "symbol", "locus_tag", "aa", "residue", "mutation"};
    const bool single = field.value.find_first_of("=:") == std::string::npos;
    if (single && is_one_of(field.key, others)) return false;
    return holds_split_word(field.text) || is_short_split_word(field.key) || is_short_split_word(field.value);
}

/// The fields with '=' or ':'. Blanks around '=' do not part a field, nor do those behind the ':' of a word that is
/// about sets: "SET = test", "split: test".
std::vector<Field> read_fields(const Record& record) {
    constexpr std::array<std::string_view, 14> set_words{
        "set:",     "split:",     "stage:", "fold:", "part:", "phase:", "subset:",
        "dataset:", "partition:", "mode:",  "type:", "use:",  "usage:", "group:"};
    std::vector<std::string> texts;
    bool open = false;  // the last one's value is to come
    for (const std::string& word : record.fields) {
        // A word with a sign of its own is no value: "GN= SET=test".
        const bool is_value = open && word.find_first_of("=:") == std::string::npos;
        const bool is_sign =
            !texts.empty() &&
            (word.starts_with('=') || (word.starts_with(':') && is_one_of(lower(texts.back()) + ':', set_words)));
        if (is_value || is_sign)
            texts.back() += word;
        else
            texts.push_back(word);
        open = (is_sign && word.size() == 1) || word.ends_with('=') || is_one_of(lower(word), set_words);
    }
    std::vector<Field> fields;
    for (const std::string& text : texts) {
        const std::size_t sign = text.find_first_of("=:");
        // A word before a colon is prose: "found by a test: ...".
        if (sign == std::string::npos || (text[sign] == ':' && sign + 1 == text.size())) continue;
        const std::size_t key = std::min(text.find_first_not_of("[("), sign);  // NCBI's [gene=x]
        fields.push_back({text, text[sign], lower(text.substr(key, sign - key)), lower(text.substr(sign + 1))});
    }
    return fields;
}

/// A value and the field that it is from.
template <typename T>
struct Told {
    std::optional<T> value;
    std::string field;
};

}  // namespace

bool holds_split_word(std::string_view text) {
    for (std::size_t first = 0; first < text.size();) {
        std::size_t last = first;
        while (last < text.size() && is_letter(text[last]) &&
               (last == first || !is_upper(text[last]) || is_upper(text[last - 1])))
            ++last;
        if (last > first && is_split_word(lower(text.substr(first, last - first)))) return true;
        first = std::max(last, first + 1);
    }
    return false;
}

bool is_short_split_word(std::string_view text) {
    constexpr std::array<std::string_view, 8> words{"val", "dev", "eval",    "evaluation",
                                                    "tst", "trn", "holdout", "heldout"};
    constexpr std::array<std::string_view, 5> endings{"", "set", "sets", "fold", "data"};
    std::string word = lower(text);
    std::erase_if(word, [](char byte) { return byte == '-' || byte == '_'; });
    if (word.starts_with("is")) word.erase(0, 2);
    return std::any_of(words.begin(), words.end(), [&](std::string_view stem) {
        return word.starts_with(stem) && is_one_of(std::string_view(word).substr(stem.size()), endings);
    });
}

const char* split_name(Split split) {
    switch (split) {
        case Split::train:
            return "training";
        case Split::validation:
            return "validation";
        case Split::test:
            return "test";
        case Split::none:
            return "no";
    }
    return "";
}

std::optional<Split> read_split(const std::string& path, const Record& record) {
    const auto unknown = [&](const std::string& field, const std::string& what_to_do) {
        return InputError(fmt::format("{}: '{}' is not known; {}", record_place(path, record), field, what_to_do));
    };
    const auto contradiction = [&](const std::string& one, const std::string& other) {
        return InputError(fmt::format("{}: '{}' and '{}' contradict each other; leave the one that is right",
                                      record_place(path, record), one, other));
    };
    const auto tell = [&](auto& told, auto value, const Field& field) {
        if (told.value && *told.value != value) throw contradiction(told.field, field.text);
        told = {value, field.text};
    };

    if (record.id.find_first_of("=:") != std::string::npos && holds_split_word(record.id))
        throw unknown(record.id, "write a blank behind the id and the split behind that, as in >ID SET=test");
    Told<Split> set;
    Told<bool> validation;
    for (const Field& field : read_fields(record)) {
        if (field.sign == '=' && field.key == "set") {
            if (field.value != "train" && field.value != "test" && field.value != "validation" && field.value != "val")
                throw unknown(field.text, remedy);
            tell(set,
                 field.value == "train"  ? Split::train
                 : field.value == "test" ? Split::test
                                         : Split::validation,
                 field);
        } else if (field.sign == '=' && field.key == "validation") {
            if (field.value != "true" && field.value != "false")
                throw unknown(field.text, "write VALIDATION=True or VALIDATION=False");
            tell(validation, field.value == "true", field);
        } else if (seems_of_split(field)) {
            throw unknown(field.text, fmt::format("if it means the split, {}; else leave it out", remedy));
        }
    }
    if (set.value && validation.value &&
        ((*set.value == Split::test && *validation.value) || (*set.value == Split::validation && !*validation.value)))
        throw contradiction(set.field, validation.field);
    if (validation.value && *validation.value) return Split::validation;
    if (!set.value && validation.value) return Split::train;
    return set.value;
}

std::optional<Split> agreed_split(std::optional<Split> one, const std::string& place, std::optional<Split> other,
                                  const std::string& other_place) {
    if (one && other && *one != *other)
        throw InputError(fmt::format("{} is for the {} set, but for the {} set by {}; let them say the same", place,
                                     split_name(*one), split_name(*other), other_place));
    return one ? one : other;
}

}  // namespace protalbert
