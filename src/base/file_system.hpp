#pragma once
// What the standard library leaves out: files that are surely on disk, and folders that can surely be written.

#include <cstdint>
#include <filesystem>
#include <string>

namespace protalbert {

/// What to do about a path that cannot be opened: "check the path", or what is special about it.
std::string path_advice(const std::filesystem::path& path);
/// Throws InputError naming the file unless it exists, is no folder, and may be read.
void require_readable_file(const std::filesystem::path& file, const std::string& what);
/// For a file or folder that is to be made or replaced: throws InputError unless a file can be made beside it, which is
/// tried, and Error where it is the disk that is full or fails.
void require_writable_beside(const std::filesystem::path& path, const std::string& what);
/// The same for a file that gets its name by rename: nor may there be a folder, a device or a pipe of that name.
void require_writable_place(const std::filesystem::path& file, const std::string& what);
/// The same for a file that is written in place: a device or pipe will do.
void require_writable_file(const std::filesystem::path& file, const std::string& what);
/// Throws `message` as InputError, or as Error where `code` (errno) tells of a full or failing disk.
[[noreturn]] void throw_unwritable(int code, const std::string& message);

/// Throws Error when the file system that holds `folder` has less than `bytes` free; `what` is to be written there.
void require_space(const std::filesystem::path& folder, std::uint64_t bytes, const std::string& what);
/// Reserves bytes [offset, offset + bytes) of an existing file without changing its size, where the file system can;
/// elsewhere compares with the free space. Throws Error when there is too little, so that nobody starts to write.
void reserve_space(const std::filesystem::path& file, std::uint64_t offset, std::uint64_t bytes);
/// " (no space left: 12 KiB free)" when the file system that holds `file` is nearly full, else empty: for the end of a
/// message about a failed write.
std::string space_hint(const std::filesystem::path& file);

/// Waits until the file's (or folder's) content is on disk. Throws Error.
void sync_to_disk(const std::filesystem::path& path);
/// Lets the next reads of a synced file come from the disk, as far as the system follows the advice.
void forget_pages(const std::filesystem::path& file);
/// Syncs `from`, renames it to `to` (replacing it) and syncs the folder: after a crash `to` is whole, old or new.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// The whole of a text file. Throws InputError naming `what` and the file.
std::string read_text_file(const std::filesystem::path& file, const std::string& what);

}  // namespace protalbert
