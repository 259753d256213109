#include "model/model.hpp"

#include "base/error.hpp"

namespace protalbert {

Weight Model::weight(std::int64_t offset) const {
    if (copies.data() != nullptr) return Weight{copies.data(), backend->element_bytes()} + offset;
    return Weight{parameters.data(), sizeof(float)} + offset;
}

Model make_model(const ModelConfig& config, Backend& backend, ModelPart part) {
    Model model;
    model.config = config;
    model.layout = make_parameter_layout(config, part);
    model.backend = &backend;
    const auto elements = static_cast<std::size_t>(model.layout.size);
    model.parameters = DeviceMemory(backend, elements * sizeof(float));
    if (backend.element_bytes() != sizeof(float))
        model.copies = DeviceMemory(backend, elements * static_cast<std::size_t>(backend.element_bytes()));
    return model;
}

void set_parameters(Model& model, const std::vector<float>& values) {
    PROTALBERT_CHECK(static_cast<std::int64_t>(values.size()) == model.layout.size,
                     "values must be of the model's layout");
    const Stream stream;
    model.backend->upload(model.parameters.data(), values.data(), values.size() * sizeof(float), stream);
    model.backend->compute_copy(model.parameters.as<float>(), model.copies.data(), model.layout.size, stream);
    model.backend->synchronize(stream);
}

void set_parameters(Model& model, const std::function<void(float*, const Parameter&)>& fill) {
    const Stream stream;
    std::vector<float> values;
    for (const Parameter& parameter : model.layout.parameters) {
        values.resize(static_cast<std::size_t>(parameter.size));
        fill(values.data(), parameter);
        model.backend->upload(model.master(parameter.offset), values.data(), values.size() * sizeof(float), stream);
        model.backend->synchronize(stream);
    }
    model.backend->compute_copy(model.parameters.as<float>(), model.copies.data(), model.layout.size, stream);
    model.backend->synchronize(stream);
}

std::vector<float> get_parameters(const Model& model) {
    std::vector<float> values(static_cast<std::size_t>(model.layout.size));
    const Stream stream;
    model.backend->download(values.data(), model.parameters.data(), values.size() * sizeof(float), stream);
    model.backend->synchronize(stream);
    return values;
}

}  // namespace protalbert
