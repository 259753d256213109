#pragma once
// Paths as people write them in files that no shell reads.

#include <map>
#include <string>

namespace protalbert {

/// The variables of this process's environment. HOME, where it is not set, is what the system knows of the user.
std::map<std::string, std::string> environment_variables();

/// `text` with $NAME and ${NAME} replaced by the variables' values, and after that a first ~ (alone or before a slash)
/// by HOME. Throws InputError, whose message begins with `place`, for a variable that is not set or empty, for another
/// user's ~, and for what else a shell does with $.
std::string expand_path(const std::string& text, const std::map<std::string, std::string>& variables,
                        const std::string& place);

}  // namespace protalbert
