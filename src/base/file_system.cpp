#include "base/file_system.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "base/error.hpp"
#include "base/progress.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

}  // namespace

std::string path_advice(const fs::path& path) {
    const std::string& name = path.native();
    if (name.starts_with("/dev/fd/") || name.starts_with("/proc/self/fd/"))
        return "a shell's <(...) does not reach the processes of mpirun and srun; write a file first (sequences can "
               "also "
               "come from standard input, by the name -)";
    if (name.starts_with('~'))
        return "the shell replaces ~ at the beginning of a word alone; write $HOME or the whole path";
    if (name.find('$') != std::string::npos)
        return "the shell replaces no variables between single quotes; check the path";
    return "check the path";
}

void require_readable_file(const fs::path& file, const std::string& what) {
    std::error_code error;
    const fs::file_status status = fs::status(file, error);
    if (!fs::exists(status))
        throw InputError(fmt::format("{} {}: {}; {}", what, file.string(), error ? error.message() : "no such file",
                                     path_advice(file)));
    if (fs::is_directory(status)) throw InputError(fmt::format("{} {} is a folder; name a file", what, file.string()));
    if (access(file.c_str(), R_OK) != 0)
        throw InputError(fmt::format("{} {}: {}; check its permissions", what, file.string(), std::strerror(errno)));
}

void throw_unwritable(int code, const std::string& message) {
    constexpr int faults[] = {ENOSPC, EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ESTALE, ETIMEDOUT};
    if (std::find(std::begin(faults), std::end(faults), code) != std::end(faults)) throw Error(message);
    throw InputError(message);
}

void require_writable_beside(const fs::path& path, const std::string& what) {
    const fs::path folder = folder_of(path);
    const auto refuse = [&](int code) {
        throw_unwritable(
            code, fmt::format("{} {}: cannot write in {}: {}; choose another place or change its permissions", what,
                              path.string(), folder.string(), std::strerror(code)));
    };
    std::error_code error;
    const fs::file_status place = fs::status(folder, error);
    if (place.type() == fs::file_type::none) refuse(error.value());
    if (!fs::exists(place))
        throw InputError(fmt::format("{} {}: there is no folder {}; {}", what, path.string(), folder.string(),
                                     path.native().starts_with('~') ? path_advice(path) : "make it first"));
    if (!fs::is_directory(place))
        throw InputError(fmt::format("{} {}: {} is a file, not a folder; choose another place", what, path.string(),
                                     folder.string()));
    // Permissions tell too little: root has all of them, and file systems have rules of their own.
    std::string trial = path.string() + ".XXXXXX";
    const int descriptor = mkstemp(trial.data());
    if (descriptor < 0) refuse(errno);
    close(descriptor);
    fs::remove(trial, error);
}

void require_writable_place(const fs::path& file, const std::string& what) {
    std::error_code error;
    const fs::file_status present = fs::status(file, error);
    if (fs::is_directory(present)) throw InputError(fmt::format("{} {} is a folder; name a file", what, file.string()));
    if (fs::is_other(present))
        throw InputError(fmt::format("{} {} is a device or pipe; name a file", what, file.string()));
    require_writable_beside(file, what);
}

void require_writable_file(const fs::path& file, const std::string& what) {
    std::error_code error;
    const fs::file_status present = fs::status(file, error);
    if (present.type() == fs::file_type::none)
        throw InputError(fmt::format("{} {}: {}; choose another place", what, file.string(), error.message()));
    if (!fs::is_other(present) && !fs::is_regular_file(present)) require_writable_place(file, what);
    if (fs::exists(present) && access(file.c_str(), W_OK) != 0)
        throw InputError(fmt::format("{} {}: {}; choose another place", what, file.string(), std::strerror(errno)));
}

void require_space(const fs::path& folder, std::uint64_t bytes, const std::string& what) {
    std::error_code error;
    const fs::space_info space = fs::space(folder.empty() ? fs::path(".") : folder, error);
    if (!error && space.available < bytes)
        throw Error(fmt::format("no space for {} in {}: {} needed, {} free; free some or choose another place", what,
                                folder.string(), format_bytes(static_cast<double>(bytes)),
                                format_bytes(static_cast<double>(space.available))));
}

void reserve_space(const fs::path& file, std::uint64_t offset, std::uint64_t bytes) {
    const int descriptor = open(file.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) throw Error(fmt::format("cannot write {}: {}", file.string(), std::strerror(errno)));
    const int status =
        fallocate(descriptor, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    const int code = errno;
    close(descriptor);
    if (status == 0) return;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG)
        throw Error(fmt::format("no space for {} more in {}: {}; free some or choose another place",
                                format_bytes(static_cast<double>(bytes)), file.string(), std::strerror(code)));
    require_space(folder_of(file), bytes, file.string());
}

std::string space_hint(const fs::path& file) {
    constexpr std::uintmax_t nearly_full = 1 << 26;  // 64 MiB: less than any array worth writing in parallel
    std::error_code error;
    const fs::space_info space = fs::space(folder_of(file), error);
    if (error || space.available >= nearly_full) return "";
    return fmt::format(" (no space left: {} free)", format_bytes(static_cast<double>(space.available)));
}

void sync_to_disk(const fs::path& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool done = descriptor >= 0 && fsync(descriptor) == 0;
    const int code = errno;
    if (descriptor >= 0) close(descriptor);
    // Some network file systems cannot sync folders and say so; the rename itself is done by then.
    if (!done && code != EINVAL && code != ENOTSUP)
        throw Error(fmt::format("cannot bring {} to disk: {}", path.string(), std::strerror(code)));
}

void forget_pages(const fs::path& file) {
    const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

void rename_durably(const fs::path& from, const fs::path& to) {
    sync_to_disk(from);
    std::error_code error;
    fs::rename(from, to, error);
    if (error) throw Error(fmt::format("cannot rename {} to {}: {}", from.string(), to.string(), error.message()));
    sync_to_disk(folder_of(to));
}

std::string read_text_file(const fs::path& file, const std::string& what) {
    require_readable_file(file, what);
    std::ifstream stream(file, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    if (!stream.good() && !stream.eof())
        throw InputError(fmt::format("{} {} cannot be read: {}", what, file.string(), std::strerror(errno)));
    return text;
}

}  // namespace protalbert
