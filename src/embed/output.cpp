#include "embed/output.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/positioned_file.hpp"
#include "base/progress.hpp"
#include "comm/program.hpp"
#include "embed/dataset_names.hpp"
#include "embed/not_finite.hpp"
#include "embed/protein_index.hpp"
#include "io/hdf5.hpp"
#include "io/seal.hpp"

namespace protalbert {
namespace {

constexpr std::int64_t format_version = 1;
const std::string format_name = "protalbert embeddings";
constexpr std::uint64_t pooled_bytes = sizeof(float);

/// The last bytes of an unfinished file; before them [batches] of progress and [proteins] of positions, behind the seal
/// over HDF5's tables.
struct Footer {
    std::uint64_t table;  ///< byte position of the progress: the seal's end
    std::uint64_t batches, proteins;
    std::uint64_t residues, mean, cls, checksums;
    std::uint64_t positions_hash;  ///< XXH3 of the positions
    std::uint64_t hash;            ///< XXH3 of the numbers above
    char magic[16];
};
constexpr char footer_magic[16] = "protalbert part";

std::uint64_t footer_hash(const Footer& footer) { return XXH3_64bits(&footer, offsetof(Footer, hash)); }

std::uint64_t positions_hash(const std::vector<std::uint64_t>& positions) {
    return XXH3_64bits(positions.data(), positions.size() * sizeof(std::uint64_t));
}

/// What two files' attributes disagree in, as a sentence; empty for the same job.
std::string difference(const Hdf5File& file, const JobIdentity& identity) {
    std::vector<std::string> parts;
    if (file.unsigned_attribute("/", "input_hash") != identity.input_hash) parts.emplace_back("other proteins");
    if (file.unsigned_attribute("/", "checkpoint_hash") != identity.checkpoint_hash)
        parts.emplace_back("another checkpoint");
    const std::string options = file.text_attribute("/", "options");
    if (options != identity.options)
        parts.push_back(fmt::format("other options ('{}' instead of '{}')", options, identity.options));
    return fmt::format("{}", fmt::join(parts, " and "));
}

/// Whether a file is one of ours with its tables complete and undamaged; `seal_end` as for check_seal.
bool is_output(const std::string& path, std::uint64_t seal_end = 0) {
    try {
        const Hdf5File file = Hdf5File::open_alone(path, seal_end);
        check_format(file, format_name, format_version);
        return file.has_attribute("/", "options");
    } catch (const Error&) {
        return false;
    }
}

/// An undamaged footer; nothing for a file without one.
std::optional<Footer> read_footer(const std::string& path) {
    const PositionedFile file(path, false);
    if (file.size() < sizeof(Footer)) return std::nullopt;
    Footer footer;
    file.read(&footer, sizeof footer, file.size() - sizeof footer);
    if (std::memcmp(footer.magic, footer_magic, sizeof footer_magic) != 0 || footer.hash != footer_hash(footer))
        return std::nullopt;
    return footer;
}

/// The progress of all batches: 0 for those that are not done, or whose entry is damaged.
std::vector<std::uint64_t> read_progress(const PositionedFile& file, std::uint64_t position, std::uint64_t batches) {
    std::vector<ProgressEntry> entries(batches);
    file.read(entries.data(), batches * sizeof(ProgressEntry), position);
    std::vector<std::uint64_t> values(batches, 0);
    for (std::uint64_t b = 0; b < batches; ++b)
        if (entries[b].value != 0 && progress_entry(b, entries[b].value).check == entries[b].check)
            values[b] = entries[b].value;
    return values;
}

/// Where the vectors are.
std::vector<ByteRange> vector_ranges(const OutputFile& output, const VectorChoice& choice, const OutputSizes& sizes,
                                     const std::vector<std::uint32_t>& lengths) {
    const std::uint64_t residue_row = sizes.hidden * choice.residue_bytes(), pooled_row = sizes.hidden * pooled_bytes;
    std::vector<ByteRange> ranges;
    const auto add = [&](std::uint64_t first, std::uint64_t bytes) {
        if (bytes > 0) ranges.push_back({first, first + bytes});
    };
    if (choice.layout == Layout::flat) {
        add(output.residues, sizes.residues * residue_row);
        if (choice.mean) add(output.mean, sizes.proteins * pooled_row);
        if (choice.cls) add(output.cls, sizes.proteins * pooled_row);
        add(output.checksums, sizes.proteins * sizeof(VectorChecksums));
        return ranges;
    }
    for (std::size_t i = 0; i < output.proteins.size(); ++i)
        add(output.proteins[i], choice.residues == ResidueVectors::none ? pooled_row : lengths[i] * residue_row);
    return ranges;
}

/// NaN for the pooled vectors of proteins without any, and their checksums.
void write_missing_vectors(const OutputFile& output, const VectorChoice& choice, const OutputSizes& sizes,
                           const std::vector<ProteinRun>& runs) {
    const std::vector<float> nan(sizes.hidden, std::numeric_limits<float>::quiet_NaN());
    const std::uint64_t row_bytes = sizes.hidden * pooled_bytes;
    const PositionedFile file(output.part_path, true);
    for (const ProteinRun& run : runs)
        for (std::uint64_t i = 0; i < run.count(); ++i) {
            if (has_vectors(run.treatments[i])) continue;
            const std::uint64_t protein = run.first + i;
            if (choice.layout == Layout::flat) {
                if (choice.mean) file.write(nan.data(), row_bytes, output.mean + protein * row_bytes);
                if (choice.cls) file.write(nan.data(), row_bytes, output.cls + protein * row_bytes);
                const std::uint32_t pooled = vector_checksum(protein, nan.data(), row_bytes);
                const VectorChecksums checksums{
                    choice.residues != ResidueVectors::none ? vector_checksum(protein, nullptr, 0) : 0,
                    choice.mean ? pooled : 0, choice.cls ? pooled : 0};
                file.write(&checksums, sizeof checksums, output.checksums + protein * sizeof checksums);
            } else if (choice.residues == ResidueVectors::none) {
                file.write(nan.data(), row_bytes, output.proteins[protein]);
            }
        }
    file.sync();
}

/// Of all proteins [N], on every rank.
struct NamedProteins {
    std::vector<std::string> ids;
    std::vector<Treatment> treatments;
};
NamedProteins gather_names(const std::vector<ProteinRun>& runs, std::uint64_t proteins,
                           const Communicator& communicator) {
    std::vector<std::byte> bytes;
    const auto append = [&](const void* data, std::size_t n) {
        const std::size_t old = bytes.size();
        bytes.resize(old + n);
        if (n > 0) std::memcpy(bytes.data() + old, data, n);
    };
    for (const ProteinRun& run : runs) {
        const std::uint64_t header[] = {run.first, run.count()};
        append(header, sizeof header);
        append(run.treatments.data(), run.treatments.size());
        append(run.id_lengths.data(), run.id_lengths.size() * sizeof(std::uint32_t));
        append(run.ids.data(), run.ids.size());
    }
    const std::vector<std::byte> all = communicator.concatenate(bytes);
    NamedProteins named;
    named.ids.resize(proteins);
    named.treatments.resize(proteins);
    for (std::size_t at = 0; at < all.size();) {
        std::uint64_t header[2];
        std::memcpy(header, all.data() + at, sizeof header);
        at += sizeof header;
        std::memcpy(named.treatments.data() + header[0], all.data() + at, header[1]);
        at += header[1];
        std::vector<std::uint32_t> lengths(header[1]);
        std::memcpy(lengths.data(), all.data() + at, lengths.size() * sizeof(std::uint32_t));
        at += lengths.size() * sizeof(std::uint32_t);
        for (std::uint64_t i = 0; i < header[1]; ++i) {
            named.ids[header[0] + i].assign(reinterpret_cast<const char*>(all.data() + at), lengths[i]);
            at += lengths[i];
        }
    }
    return named;
}

/// Tables and allocated vectors of the flat layout.
void create_flat(Hdf5File& file, OutputFile& output, const VectorChoice& choice, const OutputSizes& sizes,
                 const std::vector<ProteinRun>& runs, const std::vector<std::uint32_t>& lengths,
                 const Communicator& communicator) {
    const std::uint64_t N = sizes.proteins, H = sizes.hidden;
    write_protein_index(file, runs, N, sizes.longest_id, lengths, communicator);
    file.create_dataset("/checksums", Element::uint32, {N, 3});
    if (choice.mean) file.create_dataset("/mean", Element::float32, {N, H});
    if (choice.cls) file.create_dataset("/cls", Element::float32, {N, H});
    if (choice.residues != ResidueVectors::none)
        file.create_dataset("/residues",
                            choice.residues == ResidueVectors::float16 ? Element::float16 : Element::float32,
                            {sizes.residues, H});
    if (N > 0) output.checksums = file.file_offset("/checksums");
    if (choice.mean) output.mean = file.file_offset("/mean");
    if (choice.cls) output.cls = file.file_offset("/cls");
    if (choice.residues != ResidueVectors::none && sizes.residues > 0) output.residues = file.file_offset("/residues");
}

/// One dataset for each protein.
void create_per_protein(Hdf5File& file, OutputFile& output, const VectorChoice& choice, const OutputSizes& sizes,
                        const std::vector<ProteinRun>& runs, const std::vector<std::uint32_t>& lengths,
                        const Communicator& communicator) {
    const NamedProteins named = gather_names(runs, sizes.proteins, communicator);
    const std::vector<std::string>& ids = named.ids;
    const std::vector<std::string> names = dataset_names(ids);
    if (communicator.root()) report_changed_names(ids, names);
    Element element = Element::float32;
    if (choice.residues == ResidueVectors::float16) element = Element::float16;
    output.proteins.assign(sizes.proteins, 0);
    Progress progress("creating datasets", sizes.proteins, "proteins", communicator.root());
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string name = "/" + names[i];
        const bool pooled = choice.residues == ResidueVectors::none;
        file.create_dataset(
            name, element,
            pooled ? std::vector<std::uint64_t>{sizes.hidden} : std::vector<std::uint64_t>{lengths[i], sizes.hidden});
        file.set_attribute(name, "original_id", ids[i]);
        if (named.treatments[i] != Treatment::embedded)
            file.set_attribute(name, "status", static_cast<std::uint64_t>(named.treatments[i]));
        if (pooled || lengths[i] > 0) output.proteins[i] = file.file_offset(name);
        file.close_dataset(name);
        progress.update(i + 1);
    }
    progress.finish();
}

}  // namespace

ProgressEntry progress_entry(std::uint64_t batch, std::uint64_t value) {
    return {value, XXH3_64bits_withSeed(&value, sizeof value, batch)};
}

std::uint32_t vector_checksum(std::uint64_t protein, const void* data, std::size_t bytes) {
    return static_cast<std::uint32_t>(XXH3_64bits_withSeed(data, bytes, protein));
}

std::uint64_t VectorChoice::residue_bytes() const {
    if (residues == ResidueVectors::none) return 0;
    return residues == ResidueVectors::float16 ? 2 : 4;
}

std::uint64_t output_bytes(const VectorChoice& choice, const OutputSizes& sizes) {
    const std::uint64_t pooled = (choice.mean ? 1 : 0) + (choice.cls ? 1 : 0);
    const std::uint64_t vectors =
        sizes.hidden * (sizes.residues * choice.residue_bytes() + sizes.proteins * pooled * pooled_bytes);
    // A dataset's entry in a group's tree and its header with an attribute: about 700 bytes measured with HDF5 1.10.
    constexpr std::uint64_t dataset_bytes = 700;
    const std::uint64_t tables =
        choice.layout == Layout::flat
            ? sizes.proteins * (sizes.longest_id + 2 * sizeof(std::uint64_t) + 1 + sizeof(VectorChecksums))
            : sizes.proteins * (dataset_bytes + sizeof(std::uint64_t));
    return vectors + tables + sizes.batches * sizeof(ProgressEntry);
}

std::string part_path(const std::string& path) { return path + ".part"; }

OutputState find_output(const std::string& path, const JobIdentity& identity, bool overwrite,
                        const Communicator& communicator) {
    OutputState state = OutputState::fresh;
    const std::string part = part_path(path);
    on_root(communicator, [&] {
        require_writable_place(path, "the embeddings");
        if (std::filesystem::exists(path)) {
            const bool ours = is_output(path);
            const std::string differs =
                ours ? difference(Hdf5File::open_alone(path), identity) : "it is no complete file of embeddings";
            if (differs.empty()) {
                state = OutputState::finished;
                return;
            }
            if (!overwrite)
                throw InputError(
                    fmt::format("{} exists and is not this job's: {}; give another --output, or "
                                "--overwrite to replace it",
                                path, ours ? "it has " + differs : differs));
        }
        // Empty while a run that has just begun holds it.
        if (!std::filesystem::exists(part) || std::filesystem::file_size(part) == 0) return;
        // Without a footer the file ends with its seal once all vectors are there: it was about to get its name.
        const std::optional<Footer> footer = read_footer(part);
        const std::uint64_t seal_end = footer ? footer->table : 0;
        if (!is_output(part, seal_end) || (!footer && !check_seal(part))) {
            log_information(
                fmt::format("{} was interrupted before its first vectors, or is damaged; starting anew", part));
            return;
        }
        const std::string differs = difference(Hdf5File::open_alone(part, seal_end), identity);
        if (differs.empty()) {
            state = footer ? OutputState::interrupted : OutputState::finished;
            if (!footer) rename_durably(part, path);
        } else if (!overwrite) {
            throw InputError(
                fmt::format("{} holds the work of another job, which has {}; remove it, give another "
                            "--output, or --overwrite to start anew",
                            part, differs));
        }
    });
    int code = static_cast<int>(state);
    communicator.broadcast(&code, sizeof code, 0);
    return static_cast<OutputState>(code);
}

void require_room(const std::string& path, std::uint64_t bytes, const VectorChoice& choice, const OutputSizes& sizes,
                  const Communicator& communicator) {
    on_root(communicator, [&] {
        const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
        std::error_code error;
        const std::filesystem::space_info space = std::filesystem::space(folder, error);
        if (error || space.available >= bytes) return;
        VectorChoice smaller = choice;
        std::string remedy;
        if (choice.residues == ResidueVectors::float32) {
            smaller.residues = ResidueVectors::float16;
            remedy += fmt::format("--residues float16 needs {}, ",
                                  format_bytes(static_cast<double>(output_bytes(smaller, sizes))));
        }
        if (choice.residues != ResidueVectors::none) {
            smaller.residues = ResidueVectors::none;
            smaller.mean = true;
            remedy +=
                fmt::format("--residues none {}, ", format_bytes(static_cast<double>(output_bytes(smaller, sizes))));
        }
        throw InputError(
            fmt::format("the embeddings need {} and {} has {} free; {}or choose another place with "
                        "--output",
                        format_bytes(static_cast<double>(bytes)), folder.string(),
                        format_bytes(static_cast<double>(space.available)), remedy));
    });
}

OutputFile create_output(const std::string& path, const VectorChoice& choice, const OutputSizes& sizes,
                         const JobIdentity& identity, const OutputDescription& description,
                         const std::vector<ProteinRun>& runs, const std::vector<std::uint32_t>& lengths,
                         const Communicator& communicator) {
    OutputFile output;
    output.part_path = part_path(path);
    output.done.assign(sizes.batches, 0);
    Hdf5File file = Hdf5File::create(output.part_path, communicator);
    write_format(file, format_name, format_version);
    file.set_attribute("/", "checkpoint", description.checkpoint);
    file.set_attribute("/", "step", description.step);
    file.set_attribute("/", "config", description.config);
    file.set_attribute("/", "precision", description.precision);
    if (choice.layout == Layout::flat)
        create_flat(file, output, choice, sizes, runs, lengths, communicator);
    else
        create_per_protein(file, output, choice, sizes, runs, lengths, communicator);
    file.set_attribute("/", "input_hash", identity.input_hash);
    file.set_attribute("/", "checkpoint_hash", identity.checkpoint_hash);
    file.set_attribute("/", "options", identity.options);
    file.close();

    all_or_none(communicator, [&] { write_missing_vectors(output, choice, sizes, runs); });
    on_root(communicator, [&] {
        const PositionedFile plain(output.part_path, true);
        const std::uint64_t hdf5_end = plain.size();
        const std::vector<ByteRange> vectors = vector_ranges(output, choice, sizes, lengths);
        Footer footer{hdf5_end + seal_bytes(vectors.size()),
                      sizes.batches,
                      output.proteins.size(),
                      output.residues,
                      output.mean,
                      output.cls,
                      output.checksums,
                      positions_hash(output.proteins),
                      0,
                      {}};
        footer.hash = footer_hash(footer);
        std::memcpy(footer.magic, footer_magic, sizeof footer_magic);
        const std::uint64_t progress_bytes = sizes.batches * sizeof(ProgressEntry);
        const std::uint64_t position_bytes = output.proteins.size() * sizeof(std::uint64_t);
        const std::uint64_t end = footer.table + progress_bytes + position_bytes;
        if (!plain.reserve(end + sizeof footer)) {
            std::filesystem::remove(output.part_path);
            throw Error(fmt::format("{} cannot have the {} that the embeddings need{}", path,
                                    format_bytes(static_cast<double>(end)), space_hint(path)));
        }
        // The seal is written once the file is longer: at a file's end it says that all vectors are there.
        plain.truncate(end + sizeof footer);
        seal_file(output.part_path, vectors, hdf5_end);
        plain.write(output.proteins.data(), position_bytes, footer.table + progress_bytes);
        plain.sync();
        plain.write(&footer, sizeof footer, end);
        plain.sync();
        output.progress = footer.table;
    });
    communicator.broadcast(&output.progress, sizeof output.progress, 0);
    return output;
}

OutputFile continue_output(const std::string& path, const OutputSizes& sizes, const Communicator& communicator) {
    OutputFile output;
    output.part_path = part_path(path);
    output.done.assign(sizes.batches, 0);
    Footer footer{};
    on_root(communicator, [&] {
        const std::optional<Footer> found = read_footer(output.part_path);
        if (found) footer = *found;
        const PositionedFile file(output.part_path, false);
        bool good = found && footer.batches == sizes.batches &&
                    (footer.proteins == 0 || footer.proteins == sizes.proteins) &&
                    file.size() == footer.table + footer.batches * sizeof(ProgressEntry) +
                                       footer.proteins * sizeof(std::uint64_t) + sizeof footer;
        if (good) {
            output.done = read_progress(file, footer.table, footer.batches);
            output.proteins.resize(footer.proteins);
            file.read(output.proteins.data(), footer.proteins * sizeof(std::uint64_t),
                      footer.table + footer.batches * sizeof(ProgressEntry));
            good = positions_hash(output.proteins) == footer.positions_hash;
        }
        if (!good)
            throw InputError(
                fmt::format("the table at the end of {} is damaged; remove the file to start anew", output.part_path));
    });
    communicator.broadcast(&footer, sizeof footer, 0);
    output.proteins.resize(footer.proteins);
    communicator.broadcast(output.done.data(), output.done.size() * sizeof(std::uint64_t), 0);
    communicator.broadcast(output.proteins.data(), output.proteins.size() * sizeof(std::uint64_t), 0);
    output.progress = footer.table;
    output.residues = footer.residues;
    output.mean = footer.mean;
    output.cls = footer.cls;
    output.checksums = footer.checksums;
    return output;
}

std::vector<std::uint64_t> read_progress(const OutputFile& file, const OutputSizes& sizes) {
    return read_progress(PositionedFile(file.part_path, false), file.progress, sizes.batches);
}

void finish_output(const std::string& path, const OutputFile& output, const VectorChoice& choice,
                   const OutputSizes& sizes, const std::vector<std::uint32_t>& lengths, const NotFinite& not_finite,
                   const Communicator& communicator) {
    communicator.barrier();
    on_root(communicator, [&] {
        slow_down();
        const auto cut = [&](std::uint64_t bytes) {
            const PositionedFile plain(output.part_path, true);
            plain.truncate(bytes);
            plain.sync();
        };
        // The table has served. From here on the file ends with its seal, and only its name is missing.
        if (not_finite.proteins.empty()) {
            cut(output.progress);
        } else {
            const std::vector<ByteRange> vectors = vector_ranges(output, choice, sizes, lengths);
            cut(output.progress - seal_bytes(vectors.size()));
            slow_down();
            Hdf5File file = Hdf5File::reopen_alone(output.part_path);
            mark_not_finite(file, output, choice.layout, not_finite);
            file.close();
            slow_down();
            seal_file(output.part_path, vectors);
            PositionedFile(output.part_path, true).sync();
        }
        slow_down();
        rename_durably(output.part_path, path);
    });
}

}  // namespace protalbert
