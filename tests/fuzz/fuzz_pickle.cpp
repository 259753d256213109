// A pickle. Whatever objects it makes refer to each other, and to nothing outside.

#include "fuzzing.hpp"
#include "io/pickle.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    refusal([&] {
        const Pickle pickle = read_pickle(text(data, size), "pickle");
        require(pickle.length <= size && pickle.top < pickle.values.size(), "a pickle lies within its bytes");
        for (const PickleValue& value : pickle.values) {
            for (const std::uint32_t item : value.items) require(item < pickle.values.size(), "items are values");
            require(value.kind != PickleValue::Kind::dict || value.items.size() % 2 == 0, "keys have values");
        }
    });
    return 0;
}
