#pragma once
// What the header of a protein says about where in the cell it is found, in either of two forms:
//   >ID Location-M|S|U [test]     DeepLoc 1.0; M, S, U: bound to a membrane, soluble, not known
//   >ID TARGET=Location SET=train VALIDATION=False     FLIP, biotrainer; without M, S or U it is not known
// Locations beyond the ten (Cytoplasm-Nucleus) are none. Case does not matter, and blanks in a name may be written as
// '.', '_' or '-'.

#include <cstdint>
#include <optional>
#include <string>

#include "probe/records.hpp"
#include "probe/split.hpp"

namespace protalbert {

struct LocatedProtein {
    std::int8_t location = -1, membrane = -1;  ///< classes of the kinds; -1: none
    std::optional<Split> split;
};

/// Throws InputError naming file, line and id for what is neither.
LocatedProtein read_location(const std::string& path, const Record& record);

}  // namespace protalbert
