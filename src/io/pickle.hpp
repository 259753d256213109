#pragma once
// Reads Python's pickles as data, as far as torch.save needs them for tensors. Nothing is ever called or imported: the
// names that such a file mentions are known by heart, and any other name or opcode is refused.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace protalbert {

/// A Python object. Objects refer to others by their index in Pickle::values, so that neither deep nesting nor cycles
/// can harm.
struct PickleValue {
    enum class Kind {
        none,
        boolean,
        integer,
        number,  ///< a float, whose value nothing here needs
        large,   ///< an integer beyond 64 bits, as its bytes, least significant first
        text,
        name,  ///< of a class or function, "module.name"
        tuple,
        list,
        dict,     ///< key, value, key, value ...
        storage,  ///< the tuple that stands for elements kept outside the pickle
        tensor    ///< the arguments of torch._utils._rebuild_tensor_v2
    };
    Kind kind = Kind::none;
    std::int64_t integer = 0;            ///< also of a boolean
    std::string text;                    ///< also of a name, and the bytes of a large integer
    std::vector<std::uint32_t> items{};  ///< of the kinds from tuple on
};

struct Pickle {
    std::vector<PickleValue> values;
    std::uint32_t top = 0;   ///< index of the object that was pickled
    std::size_t length = 0;  ///< bytes of the pickle

    const PickleValue& root() const { return values[top]; }
    const PickleValue& item(const PickleValue& value, std::size_t i) const { return values[value.items.at(i)]; }
};

/// The pickle at the beginning of `bytes`; more may follow it. `origin` names it in messages. Throws InputError for
/// truncated and malformed pickles and for any opcode or name that tensors do not need. Memory: at most some hundred
/// bytes an opcode, of which a million are read at most.
Pickle read_pickle(std::string_view bytes, const std::string& origin);

}  // namespace protalbert
