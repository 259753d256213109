#pragma once
// Owners of what a backend hands out: each gives it back at the end of its life. The backend must live longer.

#include <cstddef>
#include <utility>

#include "kernels/backend.hpp"

namespace protalbert {

/// Bytes from one pair of a backend's functions.
template <void* (Backend::*allocate)(std::size_t), void (Backend::*release)(void*) noexcept>
class OwnMemory {
  public:
    OwnMemory() = default;
    OwnMemory(Backend& backend, std::size_t bytes)
        : backend_(&backend), data_(static_cast<std::byte*>((backend.*allocate)(bytes))), bytes_(bytes) {}
    OwnMemory(OwnMemory&& other) noexcept { swap(other); }
    OwnMemory& operator=(OwnMemory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~OwnMemory() {
        // The analyzer takes an optional's value to be destroyed twice.
        if (data_ != nullptr) (backend_->*release)(data_);  // NOLINT(clang-analyzer-unix.Malloc)
    }
    std::byte* data() const { return data_; }
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }
    std::size_t bytes() const { return bytes_; }

  private:
    void swap(OwnMemory& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }

    Backend* backend_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Device memory, filled with zeros.
using DeviceMemory = OwnMemory<&Backend::allocate, &Backend::free>;

/// Host memory that copies to and from the device pass through without making the host wait.
using HostMemory = OwnMemory<&Backend::allocate_host, &Backend::free_host>;

/// A Stream or an Event.
template <typename Handle, Handle (Backend::*make)(), void (Backend::*release)(Handle) noexcept>
class OwnHandle {
  public:
    OwnHandle() = default;
    explicit OwnHandle(Backend& backend) : backend_(&backend), handle_((backend.*make)()) {}
    OwnHandle(OwnHandle&& other) noexcept { swap(other); }
    OwnHandle& operator=(OwnHandle&& other) noexcept {
        swap(other);
        return *this;
    }
    ~OwnHandle() {
        if (backend_ != nullptr) (backend_->*release)(handle_);
    }
    Handle get() const { return handle_; }

  private:
    void swap(OwnHandle& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(handle_, other.handle_);
    }

    Backend* backend_ = nullptr;
    Handle handle_;
};

/// A stream beside the default one.
using OwnStream = OwnHandle<Stream, &Backend::make_stream, &Backend::free_stream>;

using OwnEvent = OwnHandle<Event, &Backend::make_event, &Backend::free_event>;

}  // namespace protalbert
