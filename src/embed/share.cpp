#include "embed/share.hpp"

#include <algorithm>
#include <cstring>

#include "data/share_out.hpp"

namespace protalbert {
namespace {

// Residues that a rank sends or receives at once: the messages' memory stays small beside the residues held.
constexpr std::uint64_t slice_bytes = std::uint64_t{128} << 20;

/// A protein on its way; its residues follow.
struct Parcel {
    std::uint64_t batch;  ///< index in `missing`
    std::uint64_t place;  ///< within the batch
    std::uint64_t protein;
    std::uint64_t first_row;
    std::uint64_t length;
};

struct ReceivedItem {
    std::uint64_t batch, place;
    WorkItem item;
};

void append_parcel(std::vector<std::byte>& bytes, const Parcel& parcel, const std::uint8_t* residues) {
    const std::size_t old = bytes.size();
    bytes.resize(old + sizeof parcel + parcel.length);
    std::memcpy(bytes.data() + old, &parcel, sizeof parcel);
    std::memcpy(bytes.data() + old + sizeof parcel, residues, parcel.length);
}

/// Finds the proteins that this rank holds.
class Holdings {
  public:
    Holdings(const std::vector<ProteinRun>& runs, const std::vector<std::uint32_t>& lengths) : runs_(runs) {
        std::uint64_t row = 0, protein = 0;
        for (const ProteinRun& run : runs) {
            for (; protein < run.first; ++protein) row += lengths[protein];
            rows_.push_back(row);
            std::vector<std::uint64_t>& starts = starts_.emplace_back(run.count() + 1, 0);
            for (std::uint64_t i = 0; i < run.count(); ++i) starts[i + 1] = starts[i] + run.lengths[i];
        }
    }

    /// Null when another rank holds the protein; sets the protein's first row of /residues.
    const std::uint8_t* find(std::uint64_t protein, std::uint64_t& first_row) const {
        const auto after =
            std::upper_bound(runs_.begin(), runs_.end(), protein,
                             [](std::uint64_t number, const ProteinRun& run) { return number < run.first; });
        if (after == runs_.begin()) return nullptr;
        const auto index = static_cast<std::size_t>(after - runs_.begin()) - 1;
        const std::uint64_t place = protein - runs_[index].first;
        if (place >= runs_[index].count()) return nullptr;
        first_row = rows_[index] + starts_[index][place];
        return runs_[index].tokens.data() + starts_[index][place];
    }

  private:
    const std::vector<ProteinRun>& runs_;
    std::vector<std::uint64_t> rows_;                 ///< first row of each run
    std::vector<std::vector<std::uint64_t>> starts_;  ///< of each protein's residues within its run
};

}  // namespace

Work share_work(const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                const std::vector<std::uint64_t>& missing, const std::vector<double>& costs,
                std::vector<ProteinRun>&& runs, const Communicator& communicator) {
    Work work;
    std::vector<double> missing_costs;
    for (const std::uint64_t number : missing) missing_costs.push_back(costs[number]);
    const std::vector<std::uint32_t> ranks = share_out(missing_costs, communicator.ranks(), &work.imbalance);

    const std::vector<ProteinRun> held = std::move(runs);
    const Holdings holdings(held, lengths);
    std::uint64_t own = 0;
    for (std::size_t b = 0; b < missing.size(); ++b)
        if (ranks[b] == static_cast<std::uint32_t>(communicator.rank()))
            for (const std::uint32_t protein : plan.batch(missing[b])) own += lengths[protein];
    work.tokens.reserve(own);
    std::vector<ReceivedItem> received;
    const auto ranks_count = static_cast<std::uint64_t>(communicator.ranks());
    for (std::size_t first = 0, last = 0; first < missing.size(); first = last) {
        // Batches [first, last) travel together; every rank cuts alike.
        std::vector<std::vector<std::byte>> outgoing(ranks_count);
        std::uint64_t residues = 0;
        for (; last < missing.size() && residues < ranks_count * slice_bytes; ++last) {
            const std::span<const std::uint32_t> proteins = plan.batch(missing[last]);
            for (std::size_t place = 0; place < proteins.size(); ++place) {
                const std::uint64_t length = lengths[proteins[place]];
                residues += length;
                std::uint64_t first_row = 0;
                if (const std::uint8_t* tokens = holdings.find(proteins[place], first_row))
                    append_parcel(outgoing[ranks[last]], {last, place, proteins[place], first_row, length}, tokens);
            }
        }
        for (const std::vector<std::byte>& bytes : communicator.exchange(outgoing)) {
            for (std::size_t at = 0; at < bytes.size();) {
                Parcel parcel;
                std::memcpy(&parcel, bytes.data() + at, sizeof parcel);
                at += sizeof parcel;
                received.push_back({parcel.batch,
                                    parcel.place,
                                    {parcel.protein, parcel.first_row, work.tokens.size(), parcel.length}});
                const auto* tokens = reinterpret_cast<const std::uint8_t*>(bytes.data() + at);
                work.tokens.insert(work.tokens.end(), tokens, tokens + parcel.length);
                at += parcel.length;
            }
        }
    }

    std::sort(received.begin(), received.end(), [](const ReceivedItem& a, const ReceivedItem& b) {
        return std::pair(a.batch, a.place) < std::pair(b.batch, b.place);
    });
    for (const ReceivedItem& item : received) {
        if (work.batches.empty() || work.batches.back().number != missing[item.batch])
            work.batches.push_back({missing[item.batch], work.items.size(), 0});
        work.items.push_back(item.item);
        ++work.batches.back().count;
    }
    return work;
}

}  // namespace protalbert
