// Which rank reads what: formats, sizes and byte ranges of the inputs.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/buffer_size.hpp"
#include "base/content.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/program.hpp"
#include "data/byte_source.hpp"
#include "data/sequence_reader.hpp"

namespace protalbert {
namespace {

constexpr std::size_t sample_size = buffer_size(std::size_t{1} << 20);
// Seconds that a byte of gzip costs over those of a plain byte (measured: inflating takes about three times as long as
// parsing, and proteins shrink to about 60 %).
constexpr std::uint64_t gzip_cost = 6;

bool is_blank(const std::string& text) {
    return without_byte_order_mark(text).find_first_not_of(" \t\r\n") == std::string_view::npos;
}

/// A pipe is read by one rank once, so nothing can be known of it beforehand.
bool is_pipe(const std::string& path) {
    if (path == "-") return true;
    struct stat status {};
    if (stat(path.c_str(), &status) != 0)
        throw InputError(fmt::format("cannot open {}: {}; {}", path, std::strerror(errno), path_advice(path)));
    return !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

/// The first decompressed bytes of a file, more when they are all blank.
std::string read_start(ByteSource& source) {
    std::string start(sample_size, '\0');
    std::size_t filled = 0;
    while (filled < start.size()) {
        const std::size_t count = source.read(start.data() + filled, start.size() - filled);
        if (count == 0) break;
        filled += count;
        if (filled == start.size() && is_blank(start)) filled = 0;
    }
    start.resize(filled);
    return start;
}

struct Input {
    InputPart part;
    std::uint64_t size = 0;
};

Input inspect(const std::string& path, std::uint32_t file, InputFormat format) {
    Input input;
    input.part.path = path;
    input.part.file = file;
    input.part.format = format;
    if (is_pipe(path)) return input;
    ByteSource source(path);
    input.size = source.file_size();
    input.part.bytes = input.size;
    const std::string start = read_start(source);
    input.part.form = text_form(start, source.gzip());
    if (format == InputFormat::automatic || is_blank(start))
        input.part.format = recognise_format(start, path, input.part.form);
    return input;
}

}  // namespace

std::vector<std::vector<InputPart>> plan_input(const std::vector<std::string>& inputs, InputFormat format, int ranks) {
    std::vector<Input> files;
    for (const std::string& path : inputs)
        files.push_back(inspect(path, static_cast<std::uint32_t>(files.size()), format));
    if (std::count(inputs.begin(), inputs.end(), "-") > 1)
        throw InputError("standard input (-) is named twice as an input; it can be read once");

    std::vector<std::vector<InputPart>> plan(static_cast<std::size_t>(ranks));
    std::vector<std::uint64_t> load(plan.size(), 0);
    std::vector<std::size_t> whole;
    std::uint64_t plain_bytes = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        if (files[i].part.bytes == 0)
            plan[0].push_back(files[i].part);
        else if (files[i].part.form.gzip)
            whole.push_back(i);
        else
            plain_bytes += files[i].size;
    }
    // Largest first, each to the rank with the least.
    std::stable_sort(whole.begin(), whole.end(), [&](auto a, auto b) { return files[a].size > files[b].size; });
    for (const std::size_t i : whole) {
        const auto rank = static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
        plan[rank].push_back(files[i].part);
        load[rank] += gzip_cost * files[i].size;
    }

    // Plain bytes fill the ranks with less up to one level: the lowest at which they all find room.
    std::vector<std::uint64_t> sorted = load;
    std::sort(sorted.begin(), sorted.end());
    std::uint64_t level = 0, below = 0;
    for (std::size_t filled = 1; filled <= sorted.size(); ++filled) {
        below += sorted[filled - 1];
        level = (plain_bytes + below + filled - 1) / filled;
        if (filled == sorted.size() || level <= sorted[filled]) break;
    }
    std::size_t rank = 0;
    std::uint64_t room = level > load[0] ? level - load[0] : 0;
    for (const Input& file : files) {
        if (file.part.form.gzip || file.part.bytes == 0) continue;
        for (std::uint64_t begin = 0; begin < file.size;) {
            while (room == 0 && rank + 1 < plan.size()) {
                ++rank;
                room = level > load[rank] ? level - load[rank] : 0;
            }
            const std::uint64_t count = rank + 1 < plan.size() ? std::min(room, file.size - begin) : file.size - begin;
            InputPart part = file.part;
            part.begin = begin;
            part.end = begin + count == file.size ? end_of_file : begin + count;
            part.bytes = count;
            plan[rank].push_back(part);
            begin += count;
            room -= std::min(room, count);
        }
    }
    return plan;
}

InputEstimate estimate_input(const std::string& path) {
    InputEstimate estimate;
    if (is_pipe(path)) return estimate;
    ByteSource source(path);
    const std::string start = read_start(source);
    const bool fasta = start.find('>') != std::string::npos;
    std::uint64_t residues = 0, records = 0;
    for (std::size_t begin = 0; begin < start.size();) {
        const std::size_t end = std::min(start.find_first_of("\r\n", begin), start.size());
        if (fasta && start[begin] == '>') {
            ++records;
        } else {
            residues += fasta ? end - begin : (end - begin + 1) / 2;
            records += !fasta && end > begin;
        }
        begin = end + 1;
    }
    const double scale = static_cast<double>(source.file_size()) / static_cast<double>(source.consumed());
    estimate.decompressed_bytes = scale * static_cast<double>(start.size());
    estimate.residues = scale * static_cast<double>(residues);
    estimate.records = scale * static_cast<double>(records);
    return estimate;
}

void number_lines(std::vector<InputPart>& parts, std::size_t inputs, const Communicator& communicator) {
    // A part is read from the byte before it, so that is where its lines are counted from.
    const auto start = [](std::uint64_t begin) { return begin > 0 ? begin - 1 : 0; };
    const auto shared = [](const InputPart& part) {
        return part.format == InputFormat::text && (part.begin > 0 || part.end != end_of_file);
    };
    std::vector<std::uint64_t> lines(inputs, 0);
    all_or_none(communicator, [&] {
        for (const InputPart& part : parts)
            if (shared(part)) lines[part.file] = count_line_ends(part.path, start(part.begin), part.end - 1);
    });
    const std::vector<std::uint64_t> all = communicator.concatenate(lines);
    for (InputPart& part : parts) {
        if (!shared(part)) continue;
        part.lines_before = 0;
        for (int rank = 0; rank < communicator.rank(); ++rank)
            part.lines_before += all[static_cast<std::size_t>(rank) * inputs + part.file];
    }
}

std::uint64_t count_line_ends(const std::string& path, std::uint64_t begin, std::uint64_t end) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw InputError(fmt::format("cannot open {}: {}; {}", path, std::strerror(errno), path_advice(path)));
    // CR LF is one end, also where the range ends between the two: the byte behind it tells.
    std::vector<char> buffer(sample_size);
    std::uint64_t lines = 0;
    while (begin < end) {
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size() - 1, end - begin));
        const ssize_t read = pread(descriptor, buffer.data(), wanted + 1, static_cast<off_t>(begin));
        if (read <= 0) break;
        const std::size_t count = std::min(wanted, static_cast<std::size_t>(read));
        const auto last = buffer.begin() + static_cast<std::ptrdiff_t>(count);
        lines += static_cast<std::uint64_t>(std::count(buffer.begin(), last, '\n'));
        for (auto end = std::find(buffer.begin(), last, '\r'); end != last; end = std::find(end + 1, last, '\r'))
            lines += !(end + 1 < buffer.begin() + read && end[1] == '\n');
        begin += count;
    }
    close(descriptor);
    return lines;
}

}  // namespace protalbert
