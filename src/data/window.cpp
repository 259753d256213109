#include "data/window.hpp"

#include <algorithm>
#include <numeric>

#include "base/timeline.hpp"
#include "comm/program.hpp"

namespace protalbert {

std::span<const std::uint8_t> Window::residues(std::uint64_t place) const {
    const Corpus::Piece& piece = pieces[place / run_length];
    const std::uint64_t index = place % run_length;
    return std::span(piece.tokens).subspan(piece.offsets[index], piece.offsets[index + 1] - piece.offsets[index]);
}

void read_window(Window& window, const Corpus& corpus, const CorpusIndex* index, const Communicator& communicator) {
    const std::size_t runs = window.first.size();
    window.pieces.resize(runs);
    std::vector<std::uint32_t> own_lengths;
    all_or_none(communicator, [&] {
        const Span span(Lane::io, "read blocks");
        for (std::size_t run = 0; run < runs; ++run) {
            if (window.readers[run] != communicator.rank()) continue;
            Corpus::Piece& piece = window.pieces[run];
            if (index)
                corpus.read(*index, window.first[run], window.run_size(run), piece);
            else
                corpus.read(window.first[run], window.run_size(run), piece);
            for (std::size_t i = 0; i < window.run_size(run); ++i)
                own_lengths.push_back(static_cast<std::uint32_t>(piece.offsets[i + 1] - piece.offsets[i]));
        }
    });

    const Span span(Lane::data, "lengths of a window");
    // The concatenation goes by ranks; every rank knows which runs each has read.
    const auto all_lengths = communicator.concatenate(own_lengths);
    std::vector<std::size_t> by_reader(runs);
    std::iota(by_reader.begin(), by_reader.end(), std::size_t{0});
    std::stable_sort(by_reader.begin(), by_reader.end(),
                     [&](std::size_t a, std::size_t b) { return window.readers[a] < window.readers[b]; });
    window.lengths.resize(window.count);
    auto from = all_lengths.begin();
    for (const std::size_t run : by_reader) {
        const auto size = static_cast<std::ptrdiff_t>(window.run_size(run));
        std::copy(from, from + size, window.lengths.begin() + static_cast<std::ptrdiff_t>(run * window.run_length));
        from += size;
    }
}

}  // namespace protalbert
