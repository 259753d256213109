// On x86-64 the switch is a dozen instructions: the C library's swapcontext asks the kernel for the signal mask each
// time, a hundred times dearer. Other processors take swapcontext. The address sanitizer is told of every switch.

#include "tests/emulation/fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
/// The sanitizer's red zones make stack frames several times larger.
constexpr std::size_t stack_bytes = std::size_t{256} << 10;
#else
/// Kernels keep their arrays in registers, of which a thread has 1 KB; the rest is for the emulation and its messages.
constexpr std::size_t stack_bytes = std::size_t{64} << 10;
#endif

std::size_t page_bytes() {
    static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return bytes;
}

Fiber* running = nullptr;
/// Where suspend() goes back to.
void* resumer = nullptr;

#if defined(__SANITIZE_ADDRESS__)
const void* resumer_stack = nullptr;
std::size_t resumer_stack_bytes = 0;
#endif

}  // namespace

#if defined(__x86_64__)

// emulation_switch(save, load): saves what a called function must preserve, then *save = stack pointer = load.
extern "C" void emulation_switch(void** save, void* load);
asm(R"(
.text
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulation_switch, .-emulation_switch
)");

namespace {

/// A stack on which the first switch finds six registers, the address of `entry` and, for it, a return address of zero.
void* first_state(std::byte* stack, void (*entry)()) {
    auto* top = reinterpret_cast<std::uintptr_t*>(stack + stack_bytes) - 1;  // entry finds 16 n + 8, as after a call
    top[0] = 0;
    top[-1] = reinterpret_cast<std::uintptr_t>(entry);
    for (int i = 2; i <= 7; ++i) top[-i] = 0;
    return top - 7;
}

void switch_stacks(void** save, void* load) { emulation_switch(save, load); }

}  // namespace

#else

namespace {

void* first_state(std::byte* stack, void (*entry)()) {
    auto* const context = new (stack) ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
    context->uc_stack.ss_size = stack_bytes - sizeof(ucontext_t);
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}

void switch_stacks(void** save, void* load) {
    ucontext_t here;
    *save = &here;
    swapcontext(&here, static_cast<ucontext_t*>(load));
}

}  // namespace

#endif

Fiber::Fiber() {
    // A page below the stack that nobody may touch: an overflow is a fault, not a changed neighbour.
    void* const memory = mmap(nullptr, page_bytes() + stack_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<std::byte*>(memory);
    mprotect(mapping_, page_bytes(), PROT_NONE);
}

Fiber::~Fiber() { munmap(mapping_, page_bytes() + stack_bytes); }

void Fiber::prepare(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(mapping_ + page_bytes(), stack_bytes);
    fake_stack_ = nullptr;
#endif
    entry_ = entry;
    state_ = first_state(mapping_ + page_bytes(), &Fiber::enter);
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &resumer_stack, &resumer_stack_bytes);
#endif
    running->entry_();
}

void Fiber::resume() {
    running = this;
#if defined(__SANITIZE_ADDRESS__)
    void* own_fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&own_fake_stack, mapping_ + page_bytes(), stack_bytes);
#endif
    switch_stacks(&resumer, state_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(own_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
    Fiber* const self = running;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&self->fake_stack_, resumer_stack, resumer_stack_bytes);
#endif
    switch_stacks(&self->state_, resumer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack_, &resumer_stack, &resumer_stack_bytes);
#endif
}

}  // namespace emulation
