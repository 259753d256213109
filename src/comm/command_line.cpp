#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "comm/program.hpp"

namespace protalbert {

std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv, const Communicator& communicator) {
    if (!app.get_version_ptr()) app.set_version_flag("--version", program_version());
    try {
        app.parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::Success& request) {  // --help, --version
        if (communicator.root()) app.exit(request);
        return exit_done;
    } catch (const CLI::ParseError& error) {
        throw InputError(
            fmt::format("{}; run {} --help", error.what(), app.get_name().empty() ? argv[0] : app.get_name()));
    }
}

}  // namespace protalbert
