#include "base/signals.hpp"

#include <signal.h>

#include <atomic>
#include <thread>

namespace protalbert {

namespace {

std::atomic<int> last_signal{0};

}  // namespace

void catch_signals() {
    // Blocked in this thread and in all that it starts, MPI's among them, and taken by a thread that does nothing else:
    // no system call of any other is ever interrupted.
    static sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([] {
        for (int signal = 0;;)
            if (sigwait(&signals, &signal) == 0) last_signal.store(signal, std::memory_order_relaxed);
    }).detach();
}

int caught_signal() { return last_signal.load(std::memory_order_relaxed); }

}  // namespace protalbert
