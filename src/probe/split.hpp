#pragma once
// What the header of a labelled protein says about training, validation and test: the fields SET=train|test|validation
// (or val, as biotrainer writes it) and VALIDATION=True|False, as in FLIP. Case does not matter.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "probe/records.hpp"

namespace protalbert {

/// none: left out of everything.
enum class Split : std::uint8_t { train, validation, test, none };

/// Whether any word of `text` is about the split (test, trained, isTest), and not strain or testis. Words end at what
/// is no letter and before a capital behind a small letter.
bool holds_split_word(std::string_view text);
/// Whether `text` is a shorter word for one of the sets ("val", "held-out", "is_dev", "valset").
bool is_short_split_word(std::string_view text);

const char* split_name(Split split);

/// The split that a record's fields tell; none where they say nothing. Words without '=' or ':' decide nothing. Throws
/// InputError for fields that contradict each other and for one that seems to be about the split but is not known
/// (STAGE=test, split:train): it would mean training in silence.
std::optional<Split> read_split(const std::string& path, const Record& record);

/// What two places say of the same protein. Throws InputError when they differ.
std::optional<Split> agreed_split(std::optional<Split> one, const std::string& place, std::optional<Split> other,
                                  const std::string& other_place);

}  // namespace protalbert
