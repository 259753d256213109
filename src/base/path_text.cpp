#include "base/path_text.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "base/error.hpp"

namespace protalbert {

namespace {

constexpr const char* name_start = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
constexpr const char* name_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

}  // namespace

std::map<std::string, std::string> environment_variables() {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; entry && *entry; ++entry) {
        const std::string text = *entry;
        const std::size_t equals = text.find('=');
        if (equals != std::string::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    const auto home = variables.find("HOME");
    if (home == variables.end() || home->second.empty())
        if (const passwd* user = getpwuid(getuid()); user && user->pw_dir) variables["HOME"] = user->pw_dir;
    return variables;
}

std::string expand_path(const std::string& text, const std::map<std::string, std::string>& variables,
                        const std::string& place) {
    const auto refuse = [&](const std::string& reason) {
        return InputError(fmt::format("{} is \"{}\": {}", place, text, reason));
    };
    const auto value_of = [&](const std::string& name) {
        const auto found = variables.find(name);
        if (found != variables.end() && !found->second.empty()) return found->second;
        throw refuse(fmt::format("the environment variable {} is {}; set it, or write the whole path", name,
                                 found == variables.end() ? "not set" : "empty"));
    };
    std::string path;
    for (std::size_t i = 0; i < text.size();) {
        if (text[i] != '$') {
            path += text[i++];
            continue;
        }
        const bool braces = i + 1 < text.size() && text[i + 1] == '{';
        const std::size_t begin = i + (braces ? 2 : 1);
        const bool named = begin < text.size() && std::string_view(name_start).find(text[begin]) != std::string::npos;
        const std::size_t end = named ? std::min(text.find_first_not_of(name_letters, begin), text.size()) : begin;
        if (!named || (braces && (end == text.size() || text[end] != '}')))
            throw refuse(
                "only $NAME and ${NAME} are replaced in paths; write what is meant, and a $ in a "
                "file's name by a variable that holds it");
        path += value_of(text.substr(begin, end - begin));
        i = end + (braces ? 1 : 0);
    }
    if (!path.starts_with('~')) return path;
    if (path.size() > 1 && path[1] != '/')
        throw refuse(
            "only ~ and ~/ at the start, the own home folder, are replaced in paths; write the whole path, or ./~... "
            "for a "
            "file of that name");
    return value_of("HOME") + path.substr(1);
}

}  // namespace protalbert
