#pragma once
// Owners of what a backend hands out: each gives it back at the end of its life. The backend must live longer.

#include <cstddef>

#include "kernels/backend.hpp"

namespace protalbert {

/// Device memory, filled with zeros.
class DeviceMemory {
  public:
    DeviceMemory() = default;
    DeviceMemory(Backend& backend, std::size_t bytes);
    DeviceMemory(DeviceMemory&& other) noexcept;
    DeviceMemory& operator=(DeviceMemory&& other) noexcept;
    ~DeviceMemory();
    std::byte* data() const { return data_; }
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }
    std::size_t bytes() const { return bytes_; }

  private:
    Backend* backend_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Host memory that copies to and from the device pass through without making the host wait.
class HostMemory {
  public:
    HostMemory() = default;
    HostMemory(Backend& backend, std::size_t bytes);
    HostMemory(HostMemory&& other) noexcept;
    HostMemory& operator=(HostMemory&& other) noexcept;
    ~HostMemory();
    std::byte* data() const { return data_; }
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }
    std::size_t bytes() const { return bytes_; }

  private:
    Backend* backend_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// A stream beside the default one.
class OwnStream {
  public:
    OwnStream() = default;
    explicit OwnStream(Backend& backend);
    OwnStream(OwnStream&& other) noexcept;
    OwnStream& operator=(OwnStream&& other) noexcept;
    ~OwnStream();
    Stream get() const { return stream_; }

  private:
    Backend* backend_ = nullptr;
    Stream stream_;
};

/// An event.
class OwnEvent {
  public:
    OwnEvent() = default;
    explicit OwnEvent(Backend& backend);
    OwnEvent(OwnEvent&& other) noexcept;
    OwnEvent& operator=(OwnEvent&& other) noexcept;
    ~OwnEvent();
    Event get() const { return event_; }

  private:
    Backend* backend_ = nullptr;
    Event event_;
};

}  // namespace protalbert
