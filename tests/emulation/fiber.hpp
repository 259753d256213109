#pragma once
// Fibers: functions that can be left in the middle and resumed, each on a stack of its own. The emulation runs every
// CUDA thread as one. One fiber runs at a time; whoever resumes it waits.

#include <cstddef>

namespace emulation {

class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// The next resume() calls `entry`, which never returns; what was suspended here is forgotten, without destructors.
    void prepare(void (*entry)());
    /// Runs the fiber until it suspends itself.
    void resume();
    /// Inside a fiber: back to the caller of resume().
    static void suspend();

  private:
    static void enter();

    std::byte* mapping_;
    void (*entry_)() = nullptr;
    void* state_ = nullptr;  ///< where it was left: its stack pointer, or a context
    void* fake_stack_ = nullptr;
};

}  // namespace emulation
