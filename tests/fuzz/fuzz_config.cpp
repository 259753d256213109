// The configuration of a model as JSON. One that is read is read again from what is written of it.

#include "fuzzing.hpp"
#include "io/json_file.hpp"
#include "model/model_config.hpp"
#include "model/parameters.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string json(text(data, size));
    refusal([&] { parse_json_object(json, "json"); });
    refusal([&] {
        const ModelConfig config = config_from_json(json, "config.json");
        require(config.hidden % config.heads == 0 && config.heads > 0 && config.layers > 0, "sizes fit together");
        const std::string written = to_json(config);
        require(differences(config, config_from_json(written, "written")).empty(), "what is written reads the same");
        require(to_json(config_from_json(written, "written")) == written, "writing twice is writing once");
    });
    return 0;
}
