#include "kernels/handles.hpp"

#include <utility>

namespace protalbert {

DeviceMemory::DeviceMemory(Backend& backend, std::size_t bytes)
    : backend_(&backend), data_(static_cast<std::byte*>(backend.allocate(bytes))), bytes_(bytes) {}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : backend_(std::exchange(other.backend_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

DeviceMemory::~DeviceMemory() {
    if (data_ != nullptr) backend_->free(data_);
}

HostMemory::HostMemory(Backend& backend, std::size_t bytes)
    : backend_(&backend), data_(static_cast<std::byte*>(backend.allocate_host(bytes))), bytes_(bytes) {}

HostMemory::HostMemory(HostMemory&& other) noexcept
    : backend_(std::exchange(other.backend_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

HostMemory::~HostMemory() {
    if (data_ != nullptr) backend_->free_host(data_);
}

OwnStream::OwnStream(Backend& backend) : backend_(&backend), stream_(backend.make_stream()) {}

OwnStream::OwnStream(OwnStream&& other) noexcept
    : backend_(std::exchange(other.backend_, nullptr)), stream_(std::exchange(other.stream_, {})) {}

OwnStream& OwnStream::operator=(OwnStream&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(stream_, other.stream_);
    return *this;
}

OwnStream::~OwnStream() {
    if (backend_ != nullptr) backend_->free_stream(stream_);
}

OwnEvent::OwnEvent(Backend& backend) : backend_(&backend), event_(backend.make_event()) {}

OwnEvent::OwnEvent(OwnEvent&& other) noexcept
    : backend_(std::exchange(other.backend_, nullptr)), event_(std::exchange(other.event_, {})) {}

OwnEvent& OwnEvent::operator=(OwnEvent&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(event_, other.event_);
    return *this;
}

OwnEvent::~OwnEvent() {
    if (backend_ != nullptr) backend_->free_event(event_);
}

}  // namespace protalbert
