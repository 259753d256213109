#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>

#include "base/error.hpp"
#include "comm/number_range.hpp"
#include "comm/program.hpp"

namespace protalbert {

CLI::Validator number_range(double least, double most) {
    const auto refuse = [least, most](const std::string& text) -> std::string {
        double number = 0;
        if (CLI::detail::lexical_cast(text, number) && number >= least && number <= most) return {};
        return fmt::format("{} is no number of {:g} to {:g}", text, least, most);
    };
    return CLI::Validator(refuse, fmt::format("{:g} TO {:g}", least, most));
}

CLI::Validator positive_number() {
    const auto refuse = [](const std::string& text) -> std::string {
        double number = 0;
        if (CLI::detail::lexical_cast(text, number) && number > 0 && std::isfinite(number)) return {};
        return fmt::format("{} is no number above 0", text);
    };
    return CLI::Validator(refuse, "POSITIVE");
}

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
