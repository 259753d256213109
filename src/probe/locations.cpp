#include "probe/locations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "base/error.hpp"
#include "probe/task.hpp"

namespace protalbert {
namespace {

/// The word without case, and with everything that may stand for a blank as dots.
std::string simple(std::string_view word) {
    std::string text;
    for (const char letter : word)
        text += std::isalnum(static_cast<unsigned char>(letter)) != 0
                    ? static_cast<char>(std::tolower(static_cast<unsigned char>(letter)))
                    : '.';
    return text;
}

InputError refusal(const std::string& path, const Record& record, const std::string& why) {
    return InputError(
        fmt::format("{}: {}; a header is >ID Location-M|S|U [test], for example >P12345 Nucleus-S, or >ID "
                    "TARGET=Location SET=train, for example >P12345 TARGET=Nucleus SET=train",
                    record_place(path, record), why));
}

/// Splits "Nucleus-S" into the name and M, S or U; 0 where none of these is at the end.
char take_bound(std::string_view& name) {
    const std::size_t hyphen = name.rfind('-');
    if (hyphen == std::string_view::npos || hyphen + 2 != name.size()) return 0;
    const char bound = name.back();
    if (bound != 'M' && bound != 'S' && bound != 'U') return 0;
    name.remove_suffix(2);
    return bound;
}

std::int8_t location_class(const std::string& path, const Record& record, std::string_view name) {
    const LabelKind& kind = label_kind(Task::localization, "location");
    for (std::size_t c = 0; c < kind.classes.size(); ++c)
        if (simple(name) == simple(kind.classes[c])) return static_cast<std::int8_t>(c);
    if (simple(name) == "cytoplasm.nucleus") return -1;
    throw refusal(
        path, record,
        fmt::format("location '{}' is none of {} and Cytoplasm-Nucleus", name, fmt::join(kind.classes, ", ")));
}

/// Place of the field TARGET=..., or the number of fields.
std::size_t find_target(const std::string& path, const Record& record) {
    const auto is_target = [](std::string_view field) {
        const std::size_t sign = field.find('=');
        return sign != std::string_view::npos && simple(field.substr(0, sign)) == "target";
    };
    const auto found = std::find_if(record.fields.begin(), record.fields.end(), is_target);
    if (found != record.fields.end() && std::any_of(found + 1, record.fields.end(), is_target))
        throw refusal(path, record, "there are two TARGET= fields");
    return static_cast<std::size_t>(found - record.fields.begin());
}

/// What the word right behind the location says. Only DeepLoc's form has such a word.
std::optional<Split> split_word(const std::string& path, const Record& record, std::size_t location, bool deeploc) {
    if (location + 1 >= record.fields.size()) return std::nullopt;
    const std::string& field = record.fields[location + 1];
    if (field.find_first_of("=:") != std::string::npos) return std::nullopt;
    const std::string word = simple(field);
    if (deeploc && word == "test") return Split::test;
    if (deeploc && word == "train") return Split::train;
    if (holds_split_word(field) || is_short_split_word(field))  // [test], (test), testing
        throw refusal(
            path, record,
            fmt::format("'{}' behind the location is not known; write SET=train, SET=test or SET=validation", field));
    return std::nullopt;
}

}  // namespace

LocatedProtein read_location(const std::string& path, const Record& record) {
    if (record.fields.empty()) throw refusal(path, record, "there is no location behind the id");
    const std::size_t target = find_target(path, record);
    const bool deeploc = target == record.fields.size();
    const std::size_t place = deeploc ? 0 : target;
    std::string_view name = record.fields[place];
    if (!deeploc) name.remove_prefix(name.find('=') + 1);
    const std::string_view whole = name;
    const char bound = take_bound(name);
    if (deeploc && bound == 0) throw refusal(path, record, fmt::format("'{}' does not end in -M, -S or -U", whole));

    LocatedProtein protein;
    protein.location = location_class(path, record, name);
    if (bound == 'M' || bound == 'S') protein.membrane = static_cast<std::int8_t>(bound == 'M');
    protein.split = agreed_split(read_split(path, record), record_place(path, record),
                                 split_word(path, record, place, deeploc), "the word behind the location");
    return protein;
}

}  // namespace protalbert
