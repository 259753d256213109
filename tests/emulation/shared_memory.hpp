#pragma once
// The shared memory of the block that runs, and who wrote and read each piece of it. CUDA orders two threads' accesses
// by a barrier alone: an access that no barrier separates from another thread's write, or a write that none separates
// from another thread's read, is an error here however the threads happened to take turns.

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace emulation {

class SharedMemory {
  public:
    /// Dynamic memory is [0, dynamic_bytes), static arrays behind it. Nothing is written yet.
    void start_block(std::size_t dynamic_bytes);
    /// Address of the array that `key` names within the block; made at the first call.
    std::uint32_t static_array(const void* key, const char* name, std::uint32_t bytes, std::uint32_t alignment);
    std::uint32_t dynamic_bytes() const { return dynamic_bytes_; }

    /// The bytes at `address`, which the running thread reads or writes. `begin`, `end`: of the array that the access
    /// must stay in.
    const std::byte* read(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end);
    std::byte* write(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end);
    /// The bytes at `address` for the running thread's whole warp (ldmatrix).
    const std::byte* read_by_warp(std::uint32_t address, std::uint32_t bytes);
    /// From now until finish_copy the bytes are neither old nor new (cp.async).
    void start_copy(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end);
    void finish_copy(const void* from, std::uint32_t address, std::uint32_t bytes, std::uint32_t valid);

  private:
    /// What is tracked together: two bytes, the smallest element. Each number is a stamp (shared_memory.cpp) of the
    /// last write, and of the reads since the last barrier; 0: none.
    struct Piece {
        std::uint64_t written = 0, read = 0;
    };
    struct Array {
        const void* key;
        const char* name;
        std::uint32_t begin, end;
    };

    void check_bounds(const char* what, std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                      std::uint32_t end) const;
    [[noreturn]] void fail_bounds(const char* what, std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                                  std::uint32_t end) const;
    const std::byte* read_pieces(std::uint32_t address, std::uint32_t bytes, bool by_warp);
    void check_read(std::uint64_t written, std::uint32_t address, bool by_warp) const;
    void check_write(const Piece& piece, std::uint32_t address) const;
    std::string name_of(std::uint32_t address) const;

    std::vector<std::byte> bytes_;
    std::vector<Piece> pieces_;
    std::vector<Array> arrays_;
    std::uint32_t dynamic_bytes_ = 0, used_ = 0;
};

/// Of the block that runs.
inline SharedMemory shared_memory;

/// An element of shared memory that is read by conversion and written by assignment.
template <class T>
class SharedElement {
  public:
    SharedElement(std::uint32_t address, std::uint32_t begin, std::uint32_t end)
        : address_(address), begin_(begin), end_(end) {}
    SharedElement(const SharedElement&) = default;

    operator T() const {
        T value;
        std::memcpy(&value, shared_memory.read(address_, sizeof(T), begin_, end_), sizeof(T));
        return value;
    }
    const SharedElement& operator=(T value) const {
        std::memcpy(shared_memory.write(address_, sizeof(T), begin_, end_), &value, sizeof(T));
        return *this;
    }
    const SharedElement& operator=(const SharedElement& other) const { return *this = static_cast<T>(other); }
    const SharedElement& operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
    const SharedElement& operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
    const SharedElement& operator*=(T value) const { return *this = static_cast<T>(*this) * value; }

  private:
    std::uint32_t address_, begin_, end_;
};

/// Where a pointer to shared memory stands on the device: it knows the array that it must stay in.
template <class T>
class Shared {
  public:
    static_assert(sizeof(T) % 2 == 0, "shared memory is tracked in pieces of two bytes");

    Shared(std::uint32_t address, std::uint32_t begin, std::uint32_t end)
        : address_(address), begin_(begin), end_(end) {}
    SharedElement<T> operator[](std::int64_t i) const { return {at(i), begin_, end_}; }
    SharedElement<T> operator*() const { return (*this)[0]; }
    Shared operator+(std::int64_t elements) const { return {at(elements), begin_, end_}; }
    template <class U>
    Shared<U> as() const {
        return {address_, begin_, end_};
    }
    std::uint32_t address() const { return address_; }
    std::uint32_t begin() const { return begin_; }
    std::uint32_t end() const { return end_; }

  private:
    std::uint32_t at(std::int64_t i) const {
        return static_cast<std::uint32_t>(address_ + i * static_cast<std::int64_t>(sizeof(T)));
    }
    std::uint32_t address_, begin_, end_;
};

}  // namespace emulation
