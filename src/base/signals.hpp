#pragma once
// SIGTERM, SIGINT and SIGUSR1 ask the program to save and stop; a thread of their own only remembers them.

namespace protalbert {

/// From now on they are remembered; call once, before any other thread starts.
void catch_signals();
/// The signal that came, 0 for none. This process only: ranks must agree before they act on it.
int caught_signal();

}  // namespace protalbert
