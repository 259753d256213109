#include "tests/emulation/device_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/emulation/execution.hpp"

namespace emulation {
namespace {

/// cudaMalloc's alignment.
constexpr std::size_t alignment = 256;
/// A large odd number as a float, an address that nobody owns as a pointer.
constexpr unsigned char guard_byte = 0xcb;

struct Allocation {
    std::byte* mapping;  ///< whole pages, with one closed page on each side
    std::size_t mapped_bytes;
    std::size_t bytes;
};

std::size_t page_bytes() {
    static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return bytes;
}

std::recursive_mutex mutex;
int openings = 0;
std::size_t used_bytes = 0;

std::map<std::byte*, Allocation>& allocations() {
    static std::map<std::byte*, Allocation> all;
    return all;
}

/// The allocation that `memory` lies in or beside.
std::string describe(const void* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    for (const auto& [begin, allocation] : allocations()) {
        const auto first = reinterpret_cast<std::uintptr_t>(allocation.mapping);
        if (address < first || address >= first + allocation.mapped_bytes) continue;
        const auto offset = static_cast<std::int64_t>(address - reinterpret_cast<std::uintptr_t>(begin));
        return "byte " + std::to_string(offset) + " of an allocation of " + std::to_string(allocation.bytes) + " bytes";
    }
    char text[64];
    std::snprintf(text, sizeof text, "address %p", memory);
    return text;
}

void on_fault(int signal, siginfo_t* info, void*) {
    if (running_thread != nullptr) {
        note_failure("touches memory that is not its own, or not aligned: " + describe(info->si_addr));
        leave_thread();
    }
    const std::string what = describe(info->si_addr);
    if (what[0] == 'b') {
        std::fprintf(stderr, "host code touches device memory, which a GPU does not allow: %s\n", what.c_str());
    }
    std::signal(signal, SIG_DFL);  // and now again, to the end
}

void catch_faults() {
    // A stack of its own: the fault may be the overflow of a fiber's.
    static std::array<std::byte, 256 << 10> stack;
    stack_t alternate{};
    alternate.ss_sp = stack.data();
    alternate.ss_size = stack.size();
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    // Not blocked while it is handled: leave_thread() never returns.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

void protect_all(int protection) {
    for (const auto& [begin, allocation] : allocations()) {
        mprotect(allocation.mapping + page_bytes(), allocation.mapped_bytes - 2 * page_bytes(), protection);
    }
}

}  // namespace

DeviceAccess::DeviceAccess() {
    mutex.lock();
    if (openings++ == 0) protect_all(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
    if (--openings == 0) protect_all(PROT_NONE);
    mutex.unlock();
}

void* allocate_device(std::size_t bytes) {
    const std::lock_guard lock(mutex);
    static const bool caught = (catch_faults(), true);
    static_cast<void>(caught);
    if (bytes > free_device_bytes()) return nullptr;
    const std::size_t page = page_bytes();
    const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
    const std::size_t inner = (rounded + page - 1) / page * page;
    void* const memory = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    auto* const mapping = static_cast<std::byte*>(memory);
    std::byte* const begin = mapping + page + inner - rounded;
    mprotect(mapping + page, inner, PROT_READ | PROT_WRITE);
    // Fresh memory holds anything; of a large arena only the guards are filled, the rest would be touched in vain.
    constexpr std::size_t most_filled = 16 << 20;
    std::memset(mapping + page, guard_byte, inner - rounded);
    std::memset(begin, guard_byte, std::min(bytes, most_filled));
    std::memset(begin + bytes, guard_byte, rounded - bytes);
    if (openings == 0) mprotect(mapping + page, inner, PROT_NONE);
    allocations()[begin] = {mapping, inner + 2 * page, bytes};
    used_bytes += bytes;
    return begin;
}

bool free_device(void* memory) {
    const std::lock_guard lock(mutex);
    const auto found = allocations().find(static_cast<std::byte*>(memory));
    if (found == allocations().end()) return false;
    munmap(found->second.mapping, found->second.mapped_bytes);
    used_bytes -= found->second.bytes;
    allocations().erase(found);
    return true;
}

std::size_t free_device_bytes() { return device_bytes - used_bytes; }

bool in_device_memory(const void* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex);
    auto* const address = static_cast<std::byte*>(const_cast<void*>(memory));
    auto after = allocations().upper_bound(address);
    if (after == allocations().begin()) return false;
    const auto& [begin, allocation] = *--after;
    const auto offset = static_cast<std::size_t>(address - begin);
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

std::string damaged_guards() {
    for (const auto& [begin, allocation] : allocations()) {
        std::byte* const first = allocation.mapping + page_bytes();
        std::byte* const last = allocation.mapping + allocation.mapped_bytes - page_bytes();
        for (std::byte* byte = first; byte < last; ++byte) {
            if (byte == begin) byte += allocation.bytes;
            if (byte == last || *byte == std::byte{guard_byte}) continue;
            // Said once, not of every launch that follows.
            std::memset(first, guard_byte, static_cast<std::size_t>(begin - first));
            std::byte* const end = begin + allocation.bytes;
            std::memset(end, guard_byte, static_cast<std::size_t>(last - end));
            return "a kernel wrote out of bounds: " + describe(byte);
        }
    }
    return {};
}

}  // namespace emulation
