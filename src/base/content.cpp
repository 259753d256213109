#include "base/content.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "base/git_lfs.hpp"

namespace protalbert {
namespace {

using namespace std::string_view_literals;

struct Magic {
    std::string_view bytes;
    std::string_view meaning;
    std::size_t position = 0;
};

constexpr std::string_view decompress = "; decompress it, or compress it with gzip";

/// Files of other programs, by the bytes that their formats prescribe.
constexpr Magic magics[] = {
    {"ustar\0"sv, "is a tar archive; unpack it (tar -xf) and name the files in it", 257},
    {"ustar  \0"sv, "is a tar archive; unpack it (tar -xf) and name the files in it", 257},
    {"PK\x03\x04"sv, "is a zip archive (or a document of an office program); unpack it and name the files in it"},
    {"PK\x05\x06"sv, "is a zip archive without files"},
    {"7z\xBC\xAF\x27\x1C"sv, "is a 7-Zip archive; unpack it and name the files in it"},
    {"Rar!\x1A\x07"sv, "is a rar archive; unpack it and name the files in it"},
    {"!<arch>\n"sv, "is an ar archive; unpack it and name the files in it"},
    {"070701"sv, "is a cpio archive; unpack it (cpio -i) and name the files in it"},
    {"070702"sv, "is a cpio archive; unpack it (cpio -i) and name the files in it"},
    {"070707"sv, "is a cpio archive; unpack it (cpio -i) and name the files in it"},
    {"\xC7\x71"sv, "is a cpio archive; unpack it (cpio -i) and name the files in it"},
    {"\x89HDF\r\n\x1A\n"sv, "is an HDF5 file, such as a corpus, a checkpoint or embeddings"},
    {"%PDF-"sv, "is a PDF document; save what it shows as text"},
    {"{\\rtf"sv, "is a document of a word processor (RTF); save it as plain text"},
    {"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv, "is a document of an office program; save it as plain text"},
    {"\x89PNG\r\n\x1A\n"sv, "is a PNG image"},
    {"SQLite format 3\0"sv, "is an SQLite database"},
    {"\x7F"
     "ELF"sv,
     "is a program"},
    {"BAM\1"sv, "is a BAM file of alignments"},
    {"CRAM\3"sv, "is a CRAM file of alignments"},
    {"\x93NUMPY"sv, "is an array of NumPy"},
    {"PAR1"sv, "is a Parquet table"},
    {"ARROW1"sv, "is an Arrow table"},
};

constexpr Magic compressions[] = {
    {"BZh"sv, "bzip2 (bunzip2)"},
    {"\xFD"
     "7zXZ"sv,
     "xz (unxz)"},
    {"\x28\xB5\x2F\xFD"sv, "zstd (unzstd)"},
    {"\x04\x22\x4D\x18"sv, "lz4 (unlz4)"},
    {"\x02\x21\x4C\x18"sv, "lz4 (unlz4)"},
    {"\x89LZO\0\r\n\x1A\n"sv, "lzop (lzop -d)"},
    {"\x78\x01"sv, "zlib (pigz -d)"},
    {"\x78\x5E"sv, "zlib (pigz -d)"},
    {"\x78\x9C"sv, "zlib (pigz -d)"},
    {"\x78\xDA"sv, "zlib (pigz -d)"},
    {"LZIP\1"sv, "lzip"},
    {"\x5D\x00\x00"sv, "lzma (unlzma)"},
    {"\x1F\x9D"sv, "compress (gunzip takes it)"},
    {"\x1F\xA0"sv, "compress (gunzip takes it)"},
    {"\x1F\x1E"sv, "pack (gunzip takes it)"},
};

bool has(std::string_view start, const Magic& magic) {
    return start.size() >= magic.position && start.substr(magic.position).starts_with(magic.bytes);
}

/// UTF-16 or UTF-32 by its mark, or by the zero bytes that ASCII's characters leave; empty for neither.
std::string_view wide_encoding(std::string_view start) {
    if (start.starts_with("\xFF\xFE\0\0"sv) || start.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
    if (start.starts_with("\xFF\xFE"sv) || start.starts_with("\xFE\xFF"sv)) return "UTF-16";
    // Without a mark: the first characters are ASCII, each with a zero byte behind or before it.
    constexpr std::size_t characters = 4;
    if (start.size() < 2 * characters) return "";
    const auto alternates = [&](std::size_t zero) {
        for (std::size_t i = 0; i < 2 * characters; ++i) {
            const auto byte = static_cast<unsigned char>(start[i]);
            if (i % 2 == zero ? byte != 0 : byte == 0 || byte >= 0x7F) return false;
        }
        return true;
    };
    return alternates(1) ? "UTF-16LE" : alternates(0) ? "UTF-16BE" : "";
}

/// Old tar archives have no mark: the checksum in a header is the sum of its bytes, its own counted as blanks.
bool is_old_tar(std::string_view start) {
    constexpr std::size_t header = 512, place = 148, size = 8;
    if (start.size() < header || start[0] == '\0') return false;
    unsigned long sum = 0, told = 0;
    for (std::size_t i = 0; i < header; ++i)
        sum += i >= place && i < place + size ? ' ' : static_cast<unsigned char>(start[i]);
    std::size_t i = place;
    while (i < place + size && start[i] == ' ') ++i;
    const std::size_t digits = i;
    for (; i < place + size && start[i] >= '0' && start[i] <= '7'; ++i)
        told = 8 * told + static_cast<unsigned long>(start[i] - '0');
    return i > digits && told == sum;
}

}  // namespace

bool begins_like(std::string_view text, std::string_view beginning) {
    const auto equal = [](char one, char other) {
        return std::tolower(static_cast<unsigned char>(one)) == std::tolower(static_cast<unsigned char>(other));
    };
    return text.size() >= beginning.size() && std::equal(beginning.begin(), beginning.end(), text.begin(), equal);
}

std::string_view without_byte_order_mark(std::string_view text) {
    while (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    return text;
}

TextForm text_form(std::string_view start, bool gzip) {
    TextForm form{gzip, false, start.find(byte_order_mark) != std::string_view::npos};
    for (std::size_t i = 0; i + 1 < start.size() && !form.carriage_returns; ++i)
        form.carriage_returns = start[i] == '\r' && start[i + 1] != '\n';
    return form;
}

std::string command_for(const std::string& program, const TextForm& form) {
    std::string command = form.gzip ? "gzip -dc < FILE" : "";
    for (const std::string& next : {std::string(form.carriage_returns ? "tr '\\r' '\\n'" : ""), program})
        if (!next.empty()) command += command.empty() ? next + " < FILE" : " | " + next;
    return command + " > NEW";
}

std::string sed_command(const std::vector<std::string>& expressions, const TextForm& form) {
    std::vector<std::string> all = expressions;
    if (form.marks) all.insert(all.begin(), "s/^\\(\\xEF\\xBB\\xBF\\)*//");
    if (all.size() == 1) return command_for(fmt::format("sed '{}'", all[0]), form);
    return command_for(fmt::format("sed -e '{}'", fmt::join(all, "' -e '")), form);
}

std::optional<std::string> foreign_content(std::string_view start, bool gzip) {
    if (is_git_lfs_pointer(start))
        return "is a pointer of Git LFS and not the file itself; fetch it with git lfs pull, or download it again";
    for (const Magic& magic : magics)
        if (has(start, magic)) return std::string(magic.meaning);
    if (is_old_tar(start)) return "is a tar archive; unpack it (tar -xf) and name the files in it";
    for (const Magic& compression : compressions)
        if (has(start, compression)) return fmt::format("is compressed with {}{}", compression.meaning, decompress);
    if (const std::string_view encoding = wide_encoding(start); !encoding.empty())
        return fmt::format("is text in {}; convert it to UTF-8: {}", encoding,
                           command_for(fmt::format("iconv -f {} -t UTF-8", encoding), {.gzip = gzip}));
    std::string_view text = without_byte_order_mark(start);
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (begins_like(text, "<!doctype") || begins_like(text, "<html"))
        return "is a web page: its download gave a page of the site and not the file; download it again";
    if (begins_like(text, "<?xml")) return "is an XML document";
    return std::nullopt;
}

}  // namespace protalbert
