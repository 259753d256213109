#include "data/window.hpp"

#include <algorithm>
#include <utility>

#include "base/timeline.hpp"
#include "comm/program.hpp"

namespace protalbert {

std::span<const std::uint8_t> Window::residues(std::uint64_t place) const {
    const Corpus::Piece& piece = pieces[place / run_length];
    const std::uint64_t index = place % run_length;
    return std::span(piece.tokens).subspan(piece.offsets[index], piece.offsets[index + 1] - piece.offsets[index]);
}

Window read_window(const Corpus& corpus, std::vector<std::uint64_t> first, std::uint64_t run_length,
                   std::uint64_t count, const Communicator& communicator) {
    Window window{.run_length = run_length, .count = count, .first = std::move(first), .lengths = {}, .pieces = {}};
    const std::size_t runs = window.first.size();
    const auto ranks = static_cast<std::size_t>(communicator.ranks());
    auto run_size = [&](std::size_t run) { return std::min(run_length, count - run * run_length); };

    window.pieces.resize(runs);
    std::vector<std::uint32_t> own_lengths;
    all_or_none(communicator, [&] {
        const Span span(Lane::io, "read blocks");
        for (std::size_t run = static_cast<std::size_t>(communicator.rank()); run < runs; run += ranks) {
            Corpus::Piece& piece = window.pieces[run];
            corpus.read(window.first[run], run_size(run), piece);
            for (std::size_t i = 0; i < run_size(run); ++i)
                own_lengths.push_back(static_cast<std::uint32_t>(piece.offsets[i + 1] - piece.offsets[i]));
        }
    });

    const Span span(Lane::data, "lengths of a window");
    // The concatenation goes by ranks; every rank knows which runs each has read.
    const auto all_lengths = communicator.concatenate(own_lengths);
    window.lengths.resize(count);
    auto from = all_lengths.begin();
    for (std::size_t rank = 0; rank < ranks; ++rank) {
        for (std::size_t run = rank; run < runs; run += ranks) {
            const auto size = static_cast<std::ptrdiff_t>(run_size(run));
            std::copy(from, from + size, window.lengths.begin() + static_cast<std::ptrdiff_t>(run * run_length));
            from += size;
        }
    }
    return window;
}

}  // namespace protalbert
