#include "io/zip_archive.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"

namespace protalbert {

namespace {

// Records of the format (PKWARE's APPNOTE, section 4.3) and their lengths without names and extra fields.
constexpr std::string_view local_mark("PK\3\4", 4);
constexpr std::string_view central_mark("PK\1\2", 4);
constexpr std::string_view end_mark("PK\5\6", 4);
constexpr std::string_view end64_mark("PK\6\6", 4);
constexpr std::string_view locator64_mark("PK\6\7", 4);
constexpr std::size_t local_bytes = 30;
constexpr std::size_t central_bytes = 46;
constexpr std::size_t end_bytes = 22;
constexpr std::size_t end64_bytes = 56;
constexpr std::size_t locator64_bytes = 20;
constexpr std::size_t most_comment_bytes = 65535;

// Some hundred bytes an entry: room for a hundred thousand.
constexpr std::uint64_t most_directory_bytes = std::uint64_t{16} << 20;
constexpr std::uint64_t in_zip64_field = 0xFFFFFFFF;

std::uint64_t number(std::string_view bytes, std::size_t at, int size) {
    return little_endian(bytes.data() + at, size);
}

InputError damaged(const InputFile& file, const std::string& why) {
    return InputError(
        fmt::format("{}: {}; the file is truncated or damaged: copy or download it again", file.name(), why));
}

struct Directory {
    std::uint64_t position = 0;
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
};

/// The end record stands at the end, with a comment of its own length behind it.
Directory find_directory(const InputFile& file) {
    const std::uint64_t tail_bytes = std::min<std::uint64_t>(file.size(), end_bytes + most_comment_bytes);
    const std::uint64_t tail_position = file.size() - tail_bytes;
    const std::string tail = file.read(tail_bytes, tail_position);
    std::size_t at = tail.rfind(end_mark);
    while (at != std::string::npos &&
           (tail.size() - at < end_bytes || number(tail, at + 20, 2) != tail.size() - at - end_bytes))
        at = at == 0 ? std::string::npos : tail.rfind(end_mark, at - 1);
    if (at == std::string::npos) throw damaged(file, "the directory at the end of the ZIP archive is missing");
    Directory directory{number(tail, at + 16, 4), number(tail, at + 12, 4), number(tail, at + 10, 2)};

    const std::uint64_t end_position = tail_position + at;
    if (end_position >= locator64_bytes) {
        const std::string locator = file.read(locator64_bytes, end_position - locator64_bytes);
        if (locator.starts_with(locator64_mark)) {
            const std::string end64 = file.read(end64_bytes, number(locator, 8, 8));
            if (!end64.starts_with(end64_mark)) throw damaged(file, "the ZIP archive's end record is missing");
            directory = {number(end64, 48, 8), number(end64, 40, 8), number(end64, 32, 8)};
        }
    }
    if (directory.position > end_position || directory.bytes > end_position - directory.position)
        throw damaged(file, "the directory of the ZIP archive leaves the file");
    if (directory.bytes > most_directory_bytes)
        throw damaged(file, fmt::format("the directory of the ZIP archive has {} bytes", directory.bytes));
    return directory;
}

/// An entry of the directory, whose position is that of its local header, and the record's length.
struct Record {
    ZipEntry entry;
    std::size_t length = 0;
};

Record parse_record(std::string_view bytes, const InputFile& file) {
    if (bytes.size() < central_bytes || !bytes.starts_with(central_mark))
        throw damaged(file, "the directory of the ZIP archive is damaged");
    const std::size_t name_bytes = number(bytes, 28, 2);
    const std::size_t extra_bytes = number(bytes, 30, 2);
    Record record;
    record.length = central_bytes + name_bytes + extra_bytes + number(bytes, 32, 2);
    if (record.length > bytes.size()) throw damaged(file, "the directory of the ZIP archive is damaged");
    ZipEntry& entry = record.entry;
    entry.name = bytes.substr(central_bytes, name_bytes);
    std::uint64_t packed = number(bytes, 20, 4);
    entry.bytes = number(bytes, 24, 4);
    entry.position = number(bytes, 42, 4);

    // Numbers that do not fit are in an extra field (id 1), in this order.
    std::string_view extra = bytes.substr(central_bytes + name_bytes, extra_bytes);
    while (extra.size() >= 4) {
        const std::size_t size = number(extra, 2, 2);
        if (size > extra.size() - 4) break;
        std::string_view field = extra.substr(4, size);
        for (std::uint64_t* wide : {&entry.bytes, &packed, &entry.position}) {
            if (number(extra, 0, 2) != 1 || *wide != in_zip64_field || field.size() < 8) continue;
            *wide = number(field, 0, 8);
            field.remove_prefix(8);
        }
        extra.remove_prefix(4 + size);
    }

    const std::uint64_t flags = number(bytes, 8, 2);
    const std::uint64_t method = number(bytes, 10, 2);
    if ((flags & 1) != 0 || method != 0 || packed != entry.bytes)
        throw InputError(
            fmt::format("{}: entry {} is compressed or encrypted, which torch.save never does; it is not unpacked",
                        file.name(), entry.name));
    return record;
}

/// The position of the entry's bytes, behind its local header.
std::uint64_t data_position(const ZipEntry& entry, const InputFile& file) {
    const std::string local = file.read(local_bytes, entry.position);
    if (!local.starts_with(local_mark)) throw damaged(file, fmt::format("entry {} has no header", entry.name));
    return entry.position + local_bytes + number(local, 26, 2) + number(local, 28, 2);
}

}  // namespace

std::vector<ZipEntry> list_zip(const InputFile& file) {
    const Directory directory = find_directory(file);
    const std::string bytes = file.read(directory.bytes, directory.position);
    std::vector<ZipEntry> entries;
    std::string_view rest = bytes;
    while (!rest.empty()) {
        Record record = parse_record(rest, file);
        rest.remove_prefix(record.length);
        entries.push_back(std::move(record.entry));
    }
    if (entries.size() != directory.entries)
        throw damaged(file, fmt::format("the ZIP archive has {} entries, where its end record counts {}",
                                        entries.size(), directory.entries));

    std::sort(entries.begin(), entries.end(),
              [](const ZipEntry& left, const ZipEntry& right) { return left.position < right.position; });
    std::set<std::string> names;
    std::uint64_t end = 0;
    for (ZipEntry& entry : entries) {
        if (entry.position < end) throw damaged(file, fmt::format("entry {} overlaps the one before", entry.name));
        entry.position = data_position(entry, file);
        if (entry.position > directory.position || entry.bytes > directory.position - entry.position)
            throw damaged(file, fmt::format("entry {} leaves the file", entry.name));
        end = entry.position + entry.bytes;
        if (!names.insert(entry.name).second)
            throw damaged(file, fmt::format("the ZIP archive has {} twice", entry.name));
    }
    return entries;
}

}  // namespace protalbert
