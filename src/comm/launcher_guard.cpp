#include "comm/launcher_guard.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace protalbert {

namespace {

/// Seconds after the last rank's end after which mpirun is ended: it takes two to end a job of which a rank was killed,
/// and the whole job has to be gone within thirty. For tests: PROTALBERT_GUARD_PATIENCE, in whole seconds.
constexpr int patience_seconds = 10;
constexpr int most_ranks = 1024;

/// The number that all of `text` is; nothing where it is none or negative.
std::optional<int> number_in(std::string_view text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
    return number;
}

std::string_view own_environment(const char* name) {
    const char* text = std::getenv(name);
    return text ? text : std::string_view();
}

/// What mpirun tells its ranks, and what they tell the guard.
constexpr const char* job_name = "PMIX_NAMESPACE";
constexpr const char* local_rank_name = "OMPI_COMM_WORLD_LOCAL_RANK";
using JobName = std::array<char, 256>;  // PMIx allows 255 characters

/// All zero where the name is too long to be told from another.
JobName to_job_name(std::string_view text) {
    JobName name = {};
    if (text.size() < name.size()) std::copy(text.begin(), text.end(), name.begin());
    return name;
}

struct Place {
    JobName job = {};
    int local_rank = 0;
    int local_ranks = 0;
};

/// This process's place in a job whose ranks are all on this machine; nothing where the launcher does not tell.
std::optional<Place> own_place() {
    const std::optional<int> local_rank = number_in(own_environment(local_rank_name));
    const std::optional<int> local_ranks = number_in(own_environment("OMPI_COMM_WORLD_LOCAL_SIZE"));
    const std::optional<int> ranks = number_in(own_environment("OMPI_COMM_WORLD_SIZE"));
    const JobName job = to_job_name(own_environment(job_name));
    if (!local_rank || !local_ranks || ranks != local_ranks || job == JobName{}) return std::nullopt;
    if (*local_rank >= *local_ranks || *local_ranks > most_ranks) return std::nullopt;
    return Place{.job = job, .local_rank = *local_rank, .local_ranks = *local_ranks};
}

// A process is held by a handle (pidfd), which stays with it when it runs another program and does not go over to
// another process that gets its number. A process that is stopped, traced, or of which only the first thread has ended
// has not ended.

int open_handle(pid_t process) { return static_cast<int>(syscall(SYS_pidfd_open, process, 0)); }

bool has_ended(int handle) {
    pollfd state = {.fd = handle, .events = POLLIN, .revents = 0};
    return poll(&state, 1, 0) > 0 && (state.revents & POLLIN) != 0;
}

/// What a rank sends: with its handle when it begins, without when it ends as it should.
struct Message {
    JobName job = {};
    std::int32_t local_rank = 0;
    std::int32_t leaves = 0;
};

/// Room for what goes with a message.
template <std::size_t Bytes>
struct alignas(cmsghdr) Control {
    std::array<char, Bytes> bytes = {};
};

void send_to_guard(int socket, Message message, std::optional<int> handle) {
    iovec data = {.iov_base = &message, .iov_len = sizeof message};
    msghdr header = {};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    Control<CMSG_SPACE(sizeof(int))> control;
    if (handle) {
        header.msg_control = control.bytes.data();
        header.msg_controllen = control.bytes.size();
        cmsghdr* const part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(part), &*handle, sizeof(int));
    }
    sendmsg(socket, &header, MSG_NOSIGNAL);
}

// The guard is forked from a process that has threads already: until it ends it may allocate nothing. All it needs room
// for is in these tables.

struct LocalRank {
    int handle = -1;    ///< -1: this rank is not known
    bool told = false;  ///< it told of itself
    bool left = false;  ///< and that it ends as it should
};
std::array<LocalRank, most_ranks> local_ranks_table;
std::array<char, 1 << 18> file_room;
std::array<char, 1 << 16> children_room;
std::array<char, 1 << 12> folder_room;

/// The content of a file of /proc as far as it fits; empty where it cannot be read.
std::string_view read_proc(std::span<char> room, const char* format, int first, int second = 0) {
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), format, first, second);
    const int file = open(path.data(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    std::size_t size = 0;
    while (size < room.size()) {
        const ssize_t count = read(file, room.data() + size, room.size() - size);
        if (count <= 0) break;
        size += static_cast<std::size_t>(count);
    }
    close(file);
    return {room.data(), size};
}

bool is_mpirun(pid_t process) {
    std::array<char, 64> room;
    std::string_view name = read_proc(room, "/proc/%d/comm", process);
    if (name.empty()) return false;
    name.remove_suffix(1);  // the newline
    for (const std::string_view launcher :
         {"mpirun", "mpiexec", "orterun", "prterun", "mpirun.openmpi", "mpiexec.openmpi"})
        if (name == launcher) return true;
    return false;
}

std::optional<pid_t> parent_of(pid_t process) {
    std::array<char, 512> room;
    std::string_view status = read_proc(room, "/proc/%d/stat", process);  // PID (NAME) STATE PARENT ...
    const std::size_t name_end = status.rfind(')');
    constexpr std::size_t to_parent = 4;
    if (name_end == std::string_view::npos || name_end + to_parent > status.size()) return std::nullopt;
    status.remove_prefix(name_end + to_parent);
    return number_in(status.substr(0, status.find(' ')));
}

std::string_view value_of(std::string_view environment, std::string_view name) {
    while (!environment.empty()) {
        const std::string_view entry = environment.substr(0, environment.find('\0'));
        if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
            return entry.substr(name.size() + 1);
        environment.remove_prefix(std::min(entry.size() + 1, environment.size()));
    }
    return {};
}

/// Calls visit(number) for the entries of a folder of /proc that have numbers for names. `visit` may not do the same.
template <class Visit>
void visit_numbers(const char* path, const Visit& visit) {
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    while (true) {
        const long bytes = syscall(SYS_getdents64, folder, folder_room.data(), folder_room.size());
        if (bytes <= 0) break;
        for (long at = 0; at < bytes;) {
            const auto* const entry = reinterpret_cast<const dirent64*>(folder_room.data() + at);
            at += entry->d_reclen;
            if (const std::optional<int> number = number_in(entry->d_name)) visit(*number);
        }
    }
    close(folder);
}

/// Calls visit(pid) for the children of a process that /proc shows: of each of its threads (Open MPI's mpirun starts 32
/// ranks and more from four of them). Some can be missing, so no conclusion may rest on one that is not there.
template <class Visit>
void visit_children(pid_t process, const Visit& visit) {
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), "/proc/%d/task", process);
    visit_numbers(path.data(), [&](int thread) {
        std::string_view list =  // "12 34 56 "
            read_proc(children_room, "/proc/%d/task/%d/children", process, thread);
        for (std::size_t end = 0; (end = list.find(' ')) != std::string_view::npos; list.remove_prefix(end + 1))
            if (const std::optional<int> child = number_in(list.substr(0, end))) visit(*child);
    });
}

struct Watched {
    pid_t launcher;
    int launcher_handle;
    int socket;
    JobName job;
    std::span<LocalRank> ranks;
};

/// Takes what ranks have sent.
void receive(const Watched& job) {
    while (true) {
        Message message;
        iovec data = {.iov_base = &message, .iov_len = sizeof message};
        Control<CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(ucred))> control;
        msghdr header = {};
        header.msg_iov = &data;
        header.msg_iovlen = 1;
        header.msg_control = control.bytes.data();
        header.msg_controllen = control.bytes.size();
        const ssize_t size = recvmsg(job.socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size < 0) return;
        int handle = -1;
        bool ours = false;
        for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
            if (part->cmsg_level != SOL_SOCKET) continue;
            if (part->cmsg_type == SCM_RIGHTS) std::memcpy(&handle, CMSG_DATA(part), sizeof handle);
            if (part->cmsg_type == SCM_CREDENTIALS) {
                ucred sender;
                std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
                ours = sender.uid == getuid();
            }
        }
        ours = ours && size == sizeof message && message.job == job.job && message.local_rank >= 0 &&
               static_cast<std::size_t>(message.local_rank) < job.ranks.size();
        if (!ours) {
            if (handle >= 0) close(handle);
            continue;
        }
        LocalRank& rank = job.ranks[static_cast<std::size_t>(message.local_rank)];
        if (message.leaves) {
            rank.left = true;
        } else if (handle >= 0) {
            if (rank.handle >= 0) close(rank.handle);
            rank = {.handle = handle, .told = true, .left = false};
        }
    }
}

/// Takes the ranks that have not told of themselves, and may be killed before they do, from mpirun's children. The
/// environment that mpirun gave a child says which rank it is. Between its start and its program a child still has
/// mpirun's own, and is taken at a later look.
void look_for_ranks(const Watched& job) {
    visit_children(job.launcher, [&](pid_t child) {
        const int handle = open_handle(child);
        if (handle < 0) return;
        const std::string_view environment = read_proc(file_room, "/proc/%d/environ", child);
        const std::optional<int> number = number_in(value_of(environment, local_rank_name));
        const bool known = to_job_name(value_of(environment, job_name)) == job.job && number &&
                           static_cast<std::size_t>(*number) < job.ranks.size() &&
                           job.ranks[static_cast<std::size_t>(*number)].handle < 0 &&
                           parent_of(child) == job.launcher &&
                           !has_ended(handle);  // so all this was read of the process that the handle holds
        if (known)
            job.ranks[static_cast<std::size_t>(*number)].handle = handle;
        else
            close(handle);
    });
}

bool sees_living_child(const Watched& job) {
    bool lives = false;
    visit_children(job.launcher, [&](pid_t child) {
        const int handle = open_handle(child);
        if (handle < 0) return;
        lives = lives || !has_ended(handle);
        close(handle);
    });
    return lives;
}

/// Whether each rank is known and known to have ended, and one that told of itself did not end as it should.
bool job_has_failed(const Watched& job) {
    const auto ended = [](const LocalRank& rank) { return rank.handle >= 0 && has_ended(rank.handle); };
    return std::any_of(job.ranks.begin(), job.ranks.end(),
                       [](const LocalRank& rank) { return rank.told && !rank.left; }) &&
           std::all_of(job.ranks.begin(), job.ranks.end(), ended);
}

/// Whether /proc shows a process that began in the job: one that a rank left behind, for which mpirun may wait.
bool sees_living_member(const Watched& job) {
    bool lives = false;
    visit_numbers("/proc", [&](pid_t process) {
        if (process == getpid()) return;
        const std::string_view environment = read_proc(file_room, "/proc/%d/environ", process);
        lives = lives || to_job_name(value_of(environment, job_name)) == job.job;
    });
    return lives;
}

constexpr int standard_output = 1, standard_error = 2;

/// mpirun's output as its own descriptor, or opened anew where the system does not give that away; -1 and errno where
/// neither works.
int open_output(const Watched& job, int output) {
    const int own = static_cast<int>(syscall(SYS_pidfd_getfd, job.launcher_handle, output, 0));
    if (own >= 0 || errno == EBADF) return own;
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), "/proc/%d/fd/%d", job.launcher, output);
    const int opened = open(path.data(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK);
    if (opened >= 0 || errno != ENXIO) return opened;
    // A pipe without a reader, at which a writer does not wait, or a socket, which cannot be opened.
    constexpr std::string_view pipe = "pipe:";
    std::array<char, pipe.size()> name;
    const ssize_t size = readlink(path.data(), name.data(), name.size());
    errno =
        size == static_cast<ssize_t>(name.size()) && pipe == std::string_view(name.data(), name.size()) ? EPIPE : ENXIO;
    return -1;
}

/// Whether mpirun may be unable to go on writing because nobody reads, as from a pipe that is full or at a terminal
/// that is stopped, or because nothing can be said of its output.
bool may_wait_for_reader(const Watched& job) {
    for (const int output : {standard_output, standard_error}) {
        const int file = open_output(job, output);
        const bool closed = file < 0 && (errno == EBADF || errno == ENOENT || errno == EPIPE);
        if (closed) continue;
        if (file < 0) return true;
        pollfd state = {.fd = file, .events = POLLOUT, .revents = 0};
        const bool writable = poll(&state, 1, 0) != 0;
        close(file);
        if (!writable) return true;
    }
    return false;
}

void say_to_output(const Watched& job) {
    const int output = open_output(job, standard_error);
    if (output < 0) return;
    constexpr std::string_view message =
        "error: all ranks on this machine have ended, but mpirun has not; it is killed. "
        "What it had not printed yet is lost; run the same command again\n";
    if (write(output, message.data(), message.size()) < 0) return;  // nobody reads it
}

/// The guard's life.
[[noreturn]] void guard(const Watched& job, int patience) {
    constexpr int second = 1000;  // ms
    int pause = 10;               // ms
    bool failed = false;
    int seconds_alone = 0;
    while (true) {
        receive(job);
        const bool all_known =
            std::all_of(job.ranks.begin(), job.ranks.end(), [](const LocalRank& rank) { return rank.handle >= 0; });
        if (!all_known) look_for_ranks(job);
        // Ranks start within moments of each other; one that is unknown later may stay so, as a program that cleared
        // its environment, and is worth a look now and then.
        pause = all_known ? second : std::min(2 * pause, second);
        std::array<pollfd, 2> news = {pollfd{.fd = job.launcher_handle, .events = POLLIN, .revents = 0},
                                      pollfd{.fd = job.socket, .events = POLLIN, .revents = 0}};
        const bool quiet = poll(news.data(), news.size(), pause) == 0;
        if (news[0].revents != 0) _exit(0);
        // Seconds that began after the job's end, and in which the guard itself ran: those of a machine or a job that
        // was suspended do not count.
        if (failed && quiet && pause == second) ++seconds_alone;
        failed =
            job_has_failed(job) && !sees_living_child(job) && !sees_living_member(job) && !may_wait_for_reader(job);
        if (!failed) {
            seconds_alone = 0;
            continue;
        }
        if (seconds_alone < patience) continue;
        say_to_output(job);
        syscall(SYS_pidfd_send_signal, job.launcher_handle, SIGKILL, nullptr, 0);
        _exit(0);
    }
}

struct Address {
    sockaddr_un name = {};
    socklen_t size = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

/// The name of a launcher's guard, in no file system. Containers can share such names and yet number their processes
/// each for itself, so that it tells whose number this is.
Address address_of_guard(pid_t launcher) {
    struct stat numbering = {};
    stat("/proc/self/ns/pid", &numbering);
    Address address;
    address.name.sun_family = AF_UNIX;
    const int length =
        std::snprintf(address.name.sun_path + 1, sizeof address.name.sun_path - 1, "protalbert guard of %d in %llu",
                      launcher, static_cast<unsigned long long>(numbering.st_ino));
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(length));
    return address;
}

/// Where a launcher has no guard yet, starts one.
void start_guard(const Address& address, const Place& place, pid_t launcher, int launcher_handle) {
    const int name = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (name < 0) return;
    const int on = 1;
    setsockopt(name, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    if (bind(name, address.get(), address.size) == 0) {
        const int patience = number_in(own_environment("PROTALBERT_GUARD_PATIENCE")).value_or(patience_seconds);
        const pid_t child = fork();
        if (child == 0) {
            // Not this rank's child nor of its session, so that nobody waits for it or kills it with the rank; and
            // without the rank's output, whose end mpirun awaits.
            setsid();
            if (fork() != 0) _exit(0);
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            signal(SIGPIPE, SIG_IGN);  // mpirun's output may have no reader any more
            dup2(launcher_handle, 0);
            dup2(name, 1);
            if (syscall(SYS_close_range, 2U, ~0U, 0U) != 0) _exit(0);  // Linux before 5.9
            guard({.launcher = launcher,
                   .launcher_handle = 0,
                   .socket = 1,
                   .job = place.job,
                   .ranks = std::span(local_ranks_table).first(static_cast<std::size_t>(place.local_ranks))},
                  patience);
        }
        if (child > 0) waitpid(child, nullptr, 0);
    }
    close(name);
}

/// Whether /proc shows this process under its own number, not a container's or the machine's.
bool proc_is_ours() {
    std::array<char, 16> number;
    const ssize_t size = readlink("/proc/self", number.data(), number.size());
    return size > 0 && number_in({number.data(), static_cast<std::size_t>(size)}) == getpid();
}

/// This rank's way to the guard; -1 without one.
int guard_socket = -1;
Message own_message;

}  // namespace

void guard_launcher() {
    const std::optional<Place> place = own_place();
    const pid_t launcher = getppid();
    if (!place || !proc_is_ours() || !is_mpirun(launcher)) return;
    const int launcher_handle = open_handle(launcher);
    const int own_handle = open_handle(getpid());
    // Still the parent, so the handle holds it. Linux before 5.3 has no handles.
    if (launcher_handle >= 0 && own_handle >= 0 && getppid() == launcher) {
        const Address address = address_of_guard(launcher);
        start_guard(address, *place, launcher, launcher_handle);
        guard_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const timeval second = {.tv_sec = 1, .tv_usec = 0};
        setsockopt(guard_socket, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
        own_message = {.job = place->job, .local_rank = place->local_rank, .leaves = 0};
        if (connect(guard_socket, address.get(), address.size) == 0) {
            send_to_guard(guard_socket, own_message, own_handle);
        } else if (guard_socket >= 0) {
            close(guard_socket);
            guard_socket = -1;
        }
    }
    if (own_handle >= 0) close(own_handle);
    if (launcher_handle >= 0) close(launcher_handle);
}

void leave_launcher() {
    if (guard_socket < 0) return;
    own_message.leaves = 1;
    // A guard that does not hear of it takes this rank for one that failed.
    const timeval patience = {.tv_sec = patience_seconds, .tv_usec = 0};
    setsockopt(guard_socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    send_to_guard(guard_socket, own_message, std::nullopt);
    close(guard_socket);
    guard_socket = -1;
}

}  // namespace protalbert
