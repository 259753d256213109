#pragma once
// SIGTERM, SIGINT and SIGUSR1 ask the program to save and stop; the handler only sets a flag.

namespace protalbert {

/// Installs the handlers; call once, before threads start.
void catch_signals();
/// The signal that came, 0 for none. This process only: ranks must agree before they act on it.
int caught_signal();

}  // namespace protalbert
