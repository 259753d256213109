#include "io/json_file.hpp"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "base/error.hpp"
#include "base/git_lfs.hpp"
#include "base/text_file.hpp"

namespace protalbert {

using Json = nlohmann::ordered_json;

namespace {

// config.json has tables in tables (id2label); a tokenizer's settings go deeper by a few.
constexpr int most_depth = 16;

}  // namespace

Json parse_json_object(const std::string& text, const std::string& origin) {
    std::vector<std::set<std::string>> keys;  // of the objects that are open
    const auto watch = [&](int depth, Json::parse_event_t event, const Json& parsed) {
        if (depth > most_depth) throw InputError(fmt::format("{}: its JSON is nested too deeply", origin));
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
            throw InputError(fmt::format("{}: the key {} occurs twice", origin, parsed.dump()));
        return true;
    };
    try {
        Json json = Json::parse(text, watch);
        if (json.is_object()) return json;
    } catch (const Json::exception& error) {
        throw InputError(fmt::format("{} is not valid JSON: {}", origin, error.what()));
    }
    throw InputError(fmt::format("{} is no JSON object", origin));
}

Json read_json_object(const std::filesystem::path& file, const std::string& what, std::size_t most_bytes) {
    const InputFile input(file, what);
    if (input.size() > most_bytes)
        throw InputError(fmt::format("{} {} has {} bytes, more than the {} that such a file may have", what,
                                     input.name(), input.size(), most_bytes));
    const std::string text = input.read(input.size(), 0);
    if (is_git_lfs_pointer(text)) throw git_lfs_pointer(file, what);
    return parse_json_object(plain_text(text, input.name()), input.name());
}

}  // namespace protalbert
