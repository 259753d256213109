#pragma once
// Errors that a person can act on: what was wrong, where, what to do.

#include <stdexcept>
#include <string>

namespace protalbert {

/// Exit codes of every program.
enum ExitCode : int {
    exit_done = 0,
    exit_failure = 1,    ///< anything that is not the input's fault
    exit_bad_input = 2,  ///< bad input or usage; nothing was touched
    exit_stopped = 75    ///< stopped early on a signal or the time limit, state saved: run me again
};

/// A failure that is not the input's fault (disk full, library error, broken invariant). Exit code 1.
class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& message, int exit_code = exit_failure)
        : std::runtime_error(message), exit_code_(exit_code) {}
    int exit_code() const noexcept { return exit_code_; }

  private:
    int exit_code_;
};

/// Bad input or usage: names what, where (file, line, record, key) and what to do. Exit code 2.
class InputError : public Error {
  public:
    explicit InputError(const std::string& message) : Error(message, exit_bad_input) {}
};

/// Throws Error with the expression and its place: for invariants of the program itself, never for input.
[[noreturn]] void fail_check(const char* expression, const std::string& hint, const char* file, int line,
                             const char* function);

}  // namespace protalbert

/// Throws unless `condition` holds; active in every build. `hint` says what to do or look at.
#define PROTALBERT_CHECK(condition, hint)                                                             \
    do {                                                                                              \
        if (!(condition)) ::protalbert::fail_check(#condition, (hint), __FILE__, __LINE__, __func__); \
    } while (false)
