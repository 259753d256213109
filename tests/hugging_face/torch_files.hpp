#pragma once
// Files of torch.save, byte by byte: what PyTorch would not write, too.

#include <string>
#include <utility>
#include <vector>

#include "files.hpp"

namespace protalbert::testing {

// Opcodes of pickles.
inline const std::string proto("\x80\x02", 2);
inline std::string name(const std::string& module, const std::string& member) {
    return std::string("c") + module + "\n" + member + "\n";
}
inline std::string text(const std::string& content) { return std::string("X") + bytes_of(content.size(), 4) + content; }
inline std::string integer(std::uint64_t number) { return std::string("J") + bytes_of(number, 4); }
inline std::string tuple(const std::vector<std::uint64_t>& numbers) {
    std::string items = "(";
    for (const std::uint64_t number : numbers) items += integer(number);
    return items + "t";
}
inline std::string storage(const std::string& type, const std::string& key, std::uint64_t elements) {
    return std::string("(") + text("storage") + name("torch", type) + text(key) + text("cpu") + integer(elements) +
           "tQ";
}
inline std::string tensor(const std::string& storage, std::uint64_t offset, const std::vector<std::uint64_t>& shape,
                          const std::vector<std::uint64_t>& strides) {
    return name("torch._utils", "_rebuild_tensor_v2") + "(" + storage + integer(offset) + tuple(shape) +
           tuple(strides) + "\x89" + name("collections", "OrderedDict") + ")RtR";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
    std::string pickle = proto + "}(";
    for (const auto& [key, value] : items) pickle += text(key) + value;
    return pickle + "u.";
}

struct Entry {
    std::string name, content;
    std::uint64_t method = 0, packed = 0, flags = 0;
};

/// A ZIP archive as its specification has it; `packed` 0 is the content's own size.
inline std::string zip(const std::vector<Entry>& entries) {
    std::string file, directory;
    for (const Entry& entry : entries) {
        const std::uint64_t packed = entry.packed ? entry.packed : entry.content.size();
        const std::string sizes = bytes_of(0, 4) + bytes_of(packed, 4) + bytes_of(entry.content.size(), 4) +
                                  bytes_of(entry.name.size(), 2) + bytes_of(0, 2);
        const std::string start = bytes_of(entry.flags, 2) + bytes_of(entry.method, 2) + bytes_of(0, 4);
        directory += "PK\1\2" + bytes_of(0, 2) + bytes_of(20, 2) + start + sizes + bytes_of(0, 10) +
                     bytes_of(file.size(), 4) + entry.name;
        file += "PK\3\4" + bytes_of(20, 2) + start + sizes + entry.name + entry.content;
    }
    return file + directory + "PK\5\6" + bytes_of(0, 4) + bytes_of(entries.size(), 2) + bytes_of(entries.size(), 2) +
           bytes_of(directory.size(), 4) + bytes_of(file.size(), 4) + bytes_of(0, 2);
}

inline std::string zip_layout(const std::string& pickle, const std::string& data) {
    return zip({{"archive/data.pkl", pickle}, {"archive/data/0", data}, {"archive/version", "3\n"}});
}

inline std::string legacy_layout(const std::string& pickle, const std::string& keys, const std::string& data) {
    const std::string mark = proto + "\x8a\x0a" + std::string("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10) + ".";
    return mark + proto + "M\xe9\x03." + proto + "}(" + text("little_endian") + "\x88u." + pickle + keys + data;
}

}  // namespace protalbert::testing
