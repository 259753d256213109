#include <fmt/format.h>

#include <utility>

#include "base/error.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

namespace {

/// The words that the system or MPI has for an error, out of HDF5's longer message about it; all of it without such.
std::string essence(const std::string& message) {
    for (const std::string before : {"error message = '", "MPI error string is '"}) {
        const auto start = message.find(before);
        if (start == std::string::npos) continue;
        const auto first = start + before.size();
        return message.substr(first, message.find('\'', first) - first);
    }
    return message.substr(0, message.find('\n'));
}

/// HDF5's error stack in a line: its innermost message, which names the cause. Empties the stack.
std::string take_hdf5_message() {
    std::string message;
    const auto remember_innermost = [](unsigned depth, const H5E_error2_t* error, void* text) -> herr_t {
        if (depth == 0 && error->desc) *static_cast<std::string*>(text) = error->desc;
        return 0;
    };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, remember_innermost, &message);
    H5Eclear2(H5E_DEFAULT);
    return message.empty() ? "HDF5 gives no reason" : essence(message);
}

}  // namespace

Handle::Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    if (id < 0) throw Error(fmt::format("{}: {}", what, take_hdf5_message()));
}

Handle::Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

Handle& Handle::operator=(Handle&& other) noexcept {
    Handle old(std::move(*this));  // closes what was held
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
    return *this;
}

Handle::~Handle() {
    if (id_ >= 0) close_(id_);
}

void Handle::close(const std::string& what) {
    if (id_ >= 0) check_hdf5(close_(std::exchange(id_, -1)), what);
}

void check_hdf5(herr_t status, const std::string& what) {
    if (status < 0) throw Error(fmt::format("{}: {}", what, take_hdf5_message()));
}

std::recursive_mutex& hdf5_lock() {
    static std::recursive_mutex mutex;
    return mutex;
}

}  // namespace protalbert
