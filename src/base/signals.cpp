#include "base/signals.hpp"

#include <signal.h>

#include <atomic>

namespace protalbert {

namespace {

std::atomic<int> last_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

extern "C" void remember_signal(int signal) { last_signal.store(signal, std::memory_order_relaxed); }

}  // namespace

void catch_signals() {
    struct sigaction action = {};
    action.sa_handler = remember_signal;
    action.sa_flags = SA_RESTART;  // reads and writes in flight go on
    sigemptyset(&action.sa_mask);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
}

int caught_signal() { return last_signal.load(std::memory_order_relaxed); }

}  // namespace protalbert
