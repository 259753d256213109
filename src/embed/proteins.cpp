#include "embed/proteins.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "comm/program.hpp"

namespace protalbert {
namespace {

// What a rank reads before it passes it on: large enough for fast messages, small beside any node's memory.
constexpr std::size_t spread_bytes = std::size_t{64} << 20;
// Proteins that are too long and named in the message.
constexpr std::size_t named_proteins = 3;

template <typename T>
void append_bytes(std::vector<std::byte>& bytes, const T* values, std::size_t n) {
    const std::size_t old = bytes.size();
    bytes.resize(old + n * sizeof(T));
    if (n > 0) std::memcpy(bytes.data() + old, values, n * sizeof(T));
}

struct Cursor {
    const std::byte* next;
    template <typename T>
    void take(T* values, std::size_t n) {
        if (n > 0) std::memcpy(values, next, n * sizeof(T));
        next += n * sizeof(T);
    }
};

struct RunHeader {
    std::uint64_t first, part, count, tokens, ids;
};

void pack_run(std::vector<std::byte>& bytes, const ProteinRun& run) {
    const RunHeader header{run.first, run.part, run.count(), run.tokens.size(), run.ids.size()};
    append_bytes(bytes, &header, 1);
    append_bytes(bytes, run.lengths.data(), run.lengths.size());
    append_bytes(bytes, run.treatments.data(), run.treatments.size());
    append_bytes(bytes, run.tokens.data(), run.tokens.size());
    append_bytes(bytes, run.id_lengths.data(), run.id_lengths.size());
    append_bytes(bytes, run.ids.data(), run.ids.size());
}

ProteinRun unpack_run(Cursor& cursor) {
    RunHeader header;
    cursor.take(&header, 1);
    ProteinRun run;
    run.first = header.first;
    run.part = static_cast<std::uint32_t>(header.part);
    run.lengths.resize(header.count);
    run.treatments.resize(header.count);
    run.tokens.resize(header.tokens);
    run.id_lengths.resize(header.count);
    run.ids.resize(header.ids);
    cursor.take(run.lengths.data(), header.count);
    cursor.take(run.treatments.data(), header.count);
    cursor.take(run.tokens.data(), header.tokens);
    cursor.take(run.id_lengths.data(), header.count);
    cursor.take(run.ids.data(), header.ids);
    return run;
}

struct AnotherRankFailed {};

/// Passes what a rank reads on to all ranks in turn, so that a single gzip file is held by all of them.
class Spreader {
  public:
    Spreader(std::vector<ProteinRun>& held, const Communicator& communicator)
        : held_(held),
          communicator_(communicator),
          outgoing_(static_cast<std::size_t>(communicator.ranks())),
          next_(static_cast<std::size_t>(communicator.rank())) {}

    /// Bytes of a run: a rank's share of what is passed on at once.
    std::size_t run_bytes() const { return spread_bytes / static_cast<std::size_t>(communicator_.ranks()); }

    void add(ProteinRun&& run) {
        if (run.count() == 0) return;
        if (communicator_.ranks() == 1) {
            held_.push_back(std::move(run));
            return;
        }
        const std::size_t before = outgoing_[next_].size();
        pack_run(outgoing_[next_], run);
        waiting_ += outgoing_[next_].size() - before;
        next_ = (next_ + 1) % outgoing_.size();
        if (waiting_ >= spread_bytes) exchange(false, false);
    }

    /// Takes part in the others' exchanges until every rank has read its parts.
    void finish() {
        while (communicator_.ranks() > 1 && !exchange(true, false)) {
        }
    }

    /// Tells the others, who stop at their next exchange, that this rank cannot go on.
    void fail() {
        for (std::vector<std::byte>& bytes : outgoing_) bytes.clear();
        if (communicator_.ranks() > 1) exchange(true, true);
    }

  private:
    /// Collective; true once every rank has finished.
    bool exchange(bool finished, bool failed) {
        std::uint64_t ranks[] = {finished ? 1u : 0u, failed ? 1u : 0u};
        communicator_.sum(ranks, 2);
        if (ranks[1] > 0) {
            if (!failed) throw AnotherRankFailed{};
            return true;
        }
        for (const std::vector<std::byte>& bytes : communicator_.exchange(outgoing_)) {
            Cursor cursor{bytes.data()};
            while (cursor.next < bytes.data() + bytes.size()) held_.push_back(unpack_run(cursor));
        }
        for (std::vector<std::byte>& bytes : outgoing_) bytes.clear();
        waiting_ = 0;
        return ranks[0] == static_cast<std::uint64_t>(communicator_.ranks());
    }

    std::vector<ProteinRun>& held_;
    const Communicator& communicator_;
    std::vector<std::vector<std::byte>> outgoing_;
    std::size_t next_;
    std::size_t waiting_ = 0;
};

/// A protein that the position table cannot hold.
struct LongProtein {
    std::uint64_t part, number, length;
    std::string id;
};

/// Pieces of the input in input order, with the rank that reads each.
struct OrderedPart {
    InputPart part;
    int rank;
};

std::vector<OrderedPart> order_parts(const std::vector<std::vector<InputPart>>& parts_of_ranks) {
    std::vector<OrderedPart> parts;
    for (std::size_t rank = 0; rank < parts_of_ranks.size(); ++rank)
        for (const InputPart& part : parts_of_ranks[rank]) parts.push_back({part, static_cast<int>(rank)});
    std::sort(parts.begin(), parts.end(), [](const OrderedPart& a, const OrderedPart& b) {
        return std::pair(a.part.file, a.part.begin) < std::pair(b.part.file, b.part.begin);
    });
    return parts;
}

/// Sum over this rank's proteins of a hash of id, residues, treatment and number.
std::uint64_t hash_runs(const std::vector<ProteinRun>& runs) {
    std::uint64_t sum = 0;
    for (const ProteinRun& run : runs) {
        const std::uint8_t* tokens = run.tokens.data();
        const char* id = run.ids.data();
        for (std::uint64_t i = 0; i < run.count(); ++i) {
            // What windows change follows from the length and the model, which the job's identity has beside this.
            const Treatment treatment = has_vectors(run.treatments[i]) ? Treatment::embedded : run.treatments[i];
            const std::uint64_t number = (run.first + i) * 4 + static_cast<std::uint64_t>(treatment);
            const std::uint64_t named = XXH3_64bits_withSeed(id, run.id_lengths[i], number);
            sum += XXH3_64bits_withSeed(tokens, run.lengths[i], named);
            tokens += run.lengths[i];
            id += run.id_lengths[i];
        }
    }
    return sum;
}

/// Proteins whose id occurs before: ids are compared by a hash of 64 bits, on the rank that the hash chooses.
std::uint64_t count_duplicates(const std::vector<ProteinRun>& runs, const Communicator& communicator) {
    const auto ranks = static_cast<std::uint64_t>(communicator.ranks());
    std::vector<std::vector<std::byte>> outgoing(ranks);
    for (const ProteinRun& run : runs) {
        const char* id = run.ids.data();
        for (const std::uint32_t length : run.id_lengths) {
            const std::uint64_t hash = XXH3_64bits(id, length);
            append_bytes(outgoing[hash % ranks], &hash, 1);
            id += length;
        }
    }
    std::vector<std::uint64_t> hashes;
    for (const std::vector<std::byte>& bytes : communicator.exchange(outgoing)) {
        const std::size_t old = hashes.size();
        hashes.resize(old + bytes.size() / sizeof(std::uint64_t));
        if (!bytes.empty()) std::memcpy(hashes.data() + old, bytes.data(), bytes.size());
    }
    std::sort(hashes.begin(), hashes.end());
    const auto distinct = std::unique(hashes.begin(), hashes.end()) - hashes.begin();
    std::uint64_t duplicates = hashes.size() - static_cast<std::uint64_t>(distinct);
    communicator.sum(&duplicates, 1);
    return duplicates;
}

/// Throws an InputError that names the first of the long proteins of all ranks.
[[noreturn]] void refuse_long_proteins(const std::vector<LongProtein>& first, std::uint64_t count,
                                       std::uint64_t longest, const std::vector<std::uint64_t>& part_firsts,
                                       const Communicator& communicator) {
    std::vector<std::byte> text;
    for (const LongProtein& protein : first) {
        const std::uint64_t header[] = {part_firsts[protein.part] + protein.number, protein.length, protein.id.size()};
        append_bytes(text, header, 3);
        append_bytes(text, protein.id.data(), protein.id.size());
    }
    const std::vector<std::byte> all = communicator.concatenate(text);
    std::vector<std::pair<std::uint64_t, std::string>> named;
    Cursor cursor{all.data()};
    while (cursor.next < all.data() + all.size()) {
        std::uint64_t header[3];
        cursor.take(header, 3);
        std::string id(header[2], ' ');
        cursor.take(id.data(), header[2]);
        named.emplace_back(header[0], fmt::format("{} ({} residues)", id, format_count(header[1])));
    }
    std::sort(named.begin(), named.end());
    std::string names;
    for (std::size_t i = 0; i < std::min(named.size(), named_proteins); ++i)
        names += (i > 0 ? ", " : "") + named[i].second;
    if (count > named_proteins) names += " ...";
    throw InputError(
        fmt::format("{} of the proteins are longer than the {} residues that the model's position table "
                    "holds: {}; cut or remove them, or give --too-long window, which embeds them by windows "
                    "that overlap, or --too-long skip, which keeps their rows without vectors",
                    format_count(count), format_count(longest), names));
}

}  // namespace

ProteinInput read_proteins(const std::vector<std::string>& inputs, InputFormat format, InvalidLetters invalid,
                           TooLong too_long, std::uint64_t longest, const Vocabulary& vocabulary,
                           const Communicator& communicator) {
    if (too_long == TooLong::window && longest == 0)
        throw InputError("the model's position table holds no residue beside [CLS] and [SEP]: windows do not help");
    const std::vector<OrderedPart> parts = order_parts(plan_input(inputs, format, communicator.ranks()));
    ProteinInput input;
    InputCounts counts;
    std::vector<std::uint64_t> part_counts(parts.size(), 0);
    std::vector<LongProtein> long_proteins;
    Spreader spreader(input.runs, communicator);
    // A protein to be skipped is delivered and keeps its row.
    const InvalidLetters reading = invalid == InvalidLetters::skip ? InvalidLetters::mark : invalid;

    const auto read_part = [&](std::size_t p) {
        ProteinRun run;
        run.part = static_cast<std::uint32_t>(p);
        read_sequences(parts[p].part, vocabulary, reading, counts, [&](const SequenceRecord& record) {
            Treatment treatment = Treatment::embedded;
            if (record.invalid) {
                treatment = Treatment::skipped;
            } else if (record.tokens.empty()) {
                treatment = Treatment::empty;
            } else if (record.tokens.size() > longest && too_long == TooLong::window) {
                treatment = Treatment::windowed;
            } else if (record.tokens.size() > longest) {
                treatment = Treatment::too_long;
                if (long_proteins.size() < named_proteins)
                    long_proteins.push_back({p, part_counts[p], record.tokens.size(), record.id});
            }
            const bool kept = has_vectors(treatment);
            if (kept) run.tokens.insert(run.tokens.end(), record.tokens.begin(), record.tokens.end());
            run.lengths.push_back(kept ? static_cast<std::uint32_t>(record.tokens.size()) : 0);
            run.treatments.push_back(treatment);
            run.id_lengths.push_back(static_cast<std::uint32_t>(record.id.size()));
            run.ids += record.id;
            ++part_counts[p];
            if (run.tokens.size() + run.ids.size() >= spreader.run_bytes()) {
                spreader.add(std::move(run));
                run = {};
                run.part = static_cast<std::uint32_t>(p);
                run.first = part_counts[p];
            }
        });
        spreader.add(std::move(run));
    };
    std::exception_ptr failure;
    try {
        for (std::size_t p = 0; p < parts.size(); ++p)
            if (parts[p].rank == communicator.rank()) read_part(p);
        spreader.finish();
    } catch (const AnotherRankFailed&) {
    } catch (...) {
        failure = std::current_exception();
        spreader.fail();
    }
    all_or_none(communicator, [&] {
        if (failure) std::rethrow_exception(failure);
    });

    // Number the proteins: pieces in input order, records in order within each.
    communicator.sum(part_counts.data(), static_cast<int>(part_counts.size()));
    std::vector<std::uint64_t> part_firsts(parts.size() + 1, 0);
    for (std::size_t p = 0; p < parts.size(); ++p) part_firsts[p + 1] = part_firsts[p] + part_counts[p];
    input.proteins = part_firsts.back();
    for (ProteinRun& run : input.runs) run.first += part_firsts[run.part];
    std::sort(input.runs.begin(), input.runs.end(),
              [](const ProteinRun& a, const ProteinRun& b) { return a.first < b.first; });

    combine(counts, communicator);
    if (communicator.root())
        for (const std::string& line : warnings(counts, inputs)) log_warning(line);
    std::uint64_t sums[treatments + 2] = {};
    std::int64_t longest_id = 1;
    for (const ProteinRun& run : input.runs) {
        for (const Treatment treatment : run.treatments) ++sums[static_cast<int>(treatment)];
        for (const std::uint32_t length : run.id_lengths) longest_id = std::max<std::int64_t>(longest_id, length);
        sums[treatments] += run.tokens.size();
    }
    sums[treatments + 1] = hash_runs(input.runs);
    communicator.sum(sums, treatments + 2);
    std::copy_n(sums, treatments, input.treated);
    input.residues = sums[treatments];
    input.hash = sums[treatments + 1];
    input.replaced_residues = counts.replaced_residues;
    input.unknown_letters = counts.unknown_letters;
    input.stops = counts.stops;
    input.comments = counts.comments;
    input.latin1_ids = counts.latin1_ids;
    input.longest_id = static_cast<std::uint64_t>(communicator.maximum(longest_id));
    const std::uint64_t too_many = input.treated[static_cast<int>(Treatment::too_long)];
    if (too_long == TooLong::error && too_many > 0)
        refuse_long_proteins(long_proteins, too_many, longest, part_firsts, communicator);
    input.duplicate_ids = count_duplicates(input.runs, communicator);
    return input;
}

std::vector<std::uint32_t> gather_lengths(const ProteinInput& input, const Communicator& communicator) {
    // Each run as its first number (two halves), its count (two halves) and its lengths.
    std::vector<std::uint32_t> mine;
    for (const ProteinRun& run : input.runs) {
        for (const std::uint64_t number : {run.first, run.count()}) {
            mine.push_back(static_cast<std::uint32_t>(number));
            mine.push_back(static_cast<std::uint32_t>(number >> 32));
        }
        mine.insert(mine.end(), run.lengths.begin(), run.lengths.end());
    }
    const std::vector<std::uint32_t> all = communicator.concatenate(mine);
    std::vector<std::uint32_t> lengths(input.proteins, 0);
    for (std::size_t at = 0; at < all.size();) {
        const std::uint64_t first = all[at] | std::uint64_t{all[at + 1]} << 32;
        const std::uint64_t count = all[at + 2] | std::uint64_t{all[at + 3]} << 32;
        std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(at + 4), count,
                    lengths.begin() + static_cast<std::ptrdiff_t>(first));
        at += 4 + count;
    }
    return lengths;
}

}  // namespace protalbert
