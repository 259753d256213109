#include "comm/launcher_guard.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string_view>

namespace protalbert {

namespace {

/// Seconds without a living child after which mpirun is ended: it takes two to end a job of which a rank was killed,
/// and the whole job has to be gone within thirty.
constexpr int patience_seconds = 10;

// The guard is forked from a process that has threads already: until it ends it may allocate nothing.

/// What a file of /proc holds, as far as it fits.
struct ProcFile {
    std::array<char, 4096> bytes;
    std::size_t size = 0;

    ProcFile(const char* format, pid_t process) {
        std::array<char, 64> path;
        std::snprintf(path.data(), path.size(), format, process, process);
        const int file = open(path.data(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        size = static_cast<std::size_t>(std::max<ssize_t>(0, read(file, bytes.data(), bytes.size())));
        close(file);
    }
    std::string_view text() const { return {bytes.data(), size}; }
};

bool is_mpirun(pid_t process) {
    const ProcFile file("/proc/%d/comm", process);
    std::string_view name = file.text();
    if (name.empty()) return false;
    name.remove_suffix(1);  // the newline
    for (const std::string_view launcher : {"mpirun", "mpiexec", "orterun", "prterun"})
        if (name == launcher) return true;
    return false;
}

bool alive(pid_t process) {
    const ProcFile file("/proc/%d/stat", process);
    const std::string_view status = file.text();  // PID (NAME) STATE ...
    const std::size_t name_end = status.rfind(')');
    if (name_end == std::string_view::npos || name_end + 2 >= status.size()) return false;
    const char state = status[name_end + 2];
    return state != 'Z' && state != 'X';
}

/// Whether `process` has a living child; also where the kernel does not list children.
bool has_living_child(pid_t process) {
    const ProcFile file("/proc/%d/task/%d/children", process);
    if (file.size == 0) return access("/proc/thread-self/children", R_OK) != 0;
    if (file.size == file.bytes.size()) return true;  // hundreds of them, not all seen: nothing has ended yet
    pid_t child = 0;
    for (const char letter : file.text()) {  // "12 34 56 "
        if (letter >= '0' && letter <= '9') {
            child = 10 * child + (letter - '0');
        } else {
            if (alive(child)) return true;
            child = 0;
        }
    }
    return false;
}

void say_to_output_of(pid_t process) {
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), "/proc/%d/fd/2", process);
    const int output = open(path.data(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK);
    if (output < 0) return;
    constexpr std::string_view message =
        "error: all ranks on this machine have ended, but mpirun has not; it is killed. "
        "What a rank said is above; run the same command again to go on\n";
    if (write(output, message.data(), message.size()) < 0) return;  // nobody reads it
}

/// The guard's life; `launcher_handle` refers to the launcher even when its number is another's by now.
[[noreturn]] void guard(pid_t launcher, int launcher_handle) {
    int seconds_alone = 0;
    while (true) {
        pollfd ended = {.fd = launcher_handle, .events = POLLIN, .revents = 0};
        constexpr int second = 1000;  // ms
        if (poll(&ended, 1, second) > 0) _exit(0);
        seconds_alone = has_living_child(launcher) ? 0 : seconds_alone + 1;
        if (seconds_alone < patience_seconds) continue;
        say_to_output_of(launcher);
        syscall(SYS_pidfd_send_signal, launcher_handle, SIGKILL, nullptr, 0);
        _exit(0);
    }
}

/// A name that one process on this machine can hold, in no file system; -1 when another holds it.
int take_name(pid_t launcher) {
    const int holder = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (holder < 0) return -1;
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const int length =
        std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "protalbert guard of %d", launcher);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(length));
    if (bind(holder, reinterpret_cast<const sockaddr*>(&address), size) == 0) return holder;
    close(holder);
    return -1;
}

}  // namespace

void guard_launcher() {
    const pid_t launcher = getppid();
    if (!is_mpirun(launcher)) return;
    const int launcher_handle = static_cast<int>(syscall(SYS_pidfd_open, launcher, 0));
    if (launcher_handle < 0) return;  // Linux before 5.3
    const int name = take_name(launcher);
    if (name >= 0) {
        const pid_t child = fork();
        if (child == 0) {
            // Not this rank's child nor of its session, so that nobody waits for it or kills it with the rank; and
            // without the rank's output, whose end mpirun awaits.
            setsid();
            if (fork() != 0) _exit(0);
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            dup2(launcher_handle, 0);
            dup2(name, 1);
            syscall(SYS_close_range, 2U, ~0U, 0U);
            guard(launcher, 0);
        }
        if (child > 0) waitpid(child, nullptr, 0);
        close(name);
    }
    close(launcher_handle);
}

}  // namespace protalbert
