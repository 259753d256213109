#include "probe/prediction_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "embed/protein_index.hpp"

namespace protalbert {
namespace {

/// Proteins whose rows are read at once for the FASTA files: a few mebibytes.
constexpr std::uint64_t proteins_at_once = 4096;

bool of_residues(const HeadConfig& config) { return config.task == Task::secondary_structure; }

/// Streams to a temporary name, renamed when complete.
class TextFile {
  public:
    explicit TextFile(std::string path) : path_(std::move(path)), file_(path_ + ".part") {}
    std::ofstream& stream() { return file_; }
    void finish() {
        if (!file_.flush()) throw Error(fmt::format("cannot write {}.part{}", path_, space_hint(path_ + ".part")));
        file_.close();
        rename_durably(path_ + ".part", path_);
    }

  private:
    std::string path_;
    std::ofstream file_;
};

/// A protein's label string in lines of 60, as sequence files have them.
void write_letters(std::ofstream& stream, const std::string& id, std::span<const std::uint8_t> classes,
                   const std::string& letters) {
    constexpr std::size_t columns = 60;
    stream << '>' << id << '\n';
    for (std::size_t i = 0; i < classes.size(); ++i) {
        stream << (classes[i] < letters.size() ? letters[classes[i]] : '-');
        if (i % columns == columns - 1 || i + 1 == classes.size()) stream << '\n';
    }
}

void write_residue_labels(const Hdf5File& file, const std::string& path, const LabelKind& kind,
                          std::uint64_t proteins) {
    TextFile text(path);
    for (std::uint64_t first = 0; first < proteins; first += proteins_at_once) {
        const std::uint64_t count = std::min(proteins_at_once, proteins - first);
        const std::vector<std::string> ids = file.read_strings("/ids", {first, count});
        std::vector<std::uint64_t> offsets(count + 1);
        file.read("/offsets", offsets.data(), {first, count + 1});
        std::vector<std::uint8_t> classes(offsets.back() - offsets.front());
        file.read("/" + kind.name + "/classes", classes.data(), {offsets.front(), classes.size()});
        for (std::uint64_t i = 0; i < count; ++i)
            write_letters(text.stream(), ids[i],
                          std::span(classes).subspan(offsets[i] - offsets.front(), offsets[i + 1] - offsets[i]),
                          kind.letters);
    }
    text.finish();
}

/// >ID Location-M|S, then the probabilities of both as fields; no residues follow.
void write_locations(const Hdf5File& file, const std::string& path, const HeadConfig& config, std::uint64_t proteins) {
    TextFile text(path);
    for (std::uint64_t first = 0; first < proteins; first += proteins_at_once) {
        const std::uint64_t count = std::min(proteins_at_once, proteins - first);
        const std::vector<std::string> ids = file.read_strings("/ids", {first, count});
        std::vector<std::string> names(count), odds(count);
        std::vector<char> bound(count, 'U');
        for (const LabelKind& kind : config.kinds) {
            const auto C = static_cast<std::uint64_t>(kind.count());
            std::vector<std::uint8_t> classes(count);
            std::vector<float> probabilities(count * C);
            file.read("/" + kind.name + "/classes", classes.data(), {first, count});
            file.read("/" + kind.name + "/probabilities", probabilities.data(), {first, count});
            for (std::uint64_t i = 0; i < count; ++i) {
                if (classes[i] == no_class) continue;
                if (kind.name == "membrane")
                    bound[i] = classes[i] == 1 ? 'M' : 'S';
                else
                    names[i] = kind.classes[classes[i]];
                odds[i] += fmt::format(" {}={:.3f}", kind.name, probabilities[i * C + classes[i]]);
            }
        }
        for (std::uint64_t i = 0; i < count; ++i)
            text.stream() << '>' << ids[i] << ' ' << (names[i].empty() ? "Unknown" : names[i]) << '-' << bound[i]
                          << odds[i] << '\n';
    }
    text.finish();
}

}  // namespace

Hdf5File create_predictions(const std::string& path, const HeadConfig& config, const std::string& training,
                            const ProteinInput& input, const std::vector<std::uint32_t>& lengths,
                            const Communicator& communicator) {
    const std::uint64_t N = input.proteins, rows = of_residues(config) ? input.residues : N;
    Hdf5File file = Hdf5File::create(path, communicator);
    write_format(file, "protalbert predictions", 1);
    file.set_attribute("/", "task", std::string(task_name(config.task)));
    file.set_attribute("/", "training", training);
    write_protein_index(file, input.runs, N, input.longest_id, lengths, communicator);
    for (const LabelKind& kind : config.kinds) {
        const std::string group = "/" + kind.name;
        file.create_dataset(group + "/probabilities", Element::float32,
                            {rows, static_cast<std::uint64_t>(kind.count())});
        file.create_dataset(group + "/classes", Element::uint8, {rows});
        file.set_attribute(group, "classes", nlohmann::json(kind.classes).dump());
        file.set_attribute(group, "letters", kind.letters);
    }

    if (of_residues(config)) return file;

    // Proteins without a prediction; the others are written over.
    for_each_run(input.runs, communicator, [&](const ProteinRun& run) {
        for (const LabelKind& kind : config.kinds) {
            const std::vector<float> nan(run.count() * static_cast<std::uint64_t>(kind.count()),
                                         std::numeric_limits<float>::quiet_NaN());
            const std::vector<std::uint8_t> none(run.count(), no_class);
            file.write("/" + kind.name + "/probabilities", nan.data(), {run.first, run.count()});
            file.write("/" + kind.name + "/classes", none.data(), {run.first, run.count()});
        }
    });
    return file;
}

void write_predictions(Hdf5File& file, const LabelKind& kind, std::uint64_t first_row,
                       std::span<const float> probabilities, std::span<const std::uint8_t> classes) {
    file.write_independent("/" + kind.name + "/probabilities", probabilities.data(), {first_row, classes.size()});
    file.write_independent("/" + kind.name + "/classes", classes.data(), {first_row, classes.size()});
}

void write_not_finite(Hdf5File& file, std::uint64_t protein) {
    constexpr Treatment status = Treatment::not_finite;
    file.write_independent("/status", &status, {protein, 1});
}

std::vector<std::string> fasta_paths(const std::string& output, const HeadConfig& config) {
    if (!of_residues(config)) return {output + ".localization.fasta"};
    std::vector<std::string> paths;
    for (const LabelKind& kind : config.kinds) paths.push_back(output + "." + kind.name + ".fasta");
    return paths;
}

std::vector<std::string> write_fasta(const std::string& predictions, const std::string& output,
                                     const HeadConfig& config) {
    const Hdf5File file = Hdf5File::open_alone(predictions);
    const std::uint64_t proteins = file.shape("/lengths").at(0);
    const std::vector<std::string> paths = fasta_paths(output, config);
    if (!of_residues(config)) {
        write_locations(file, paths.front(), config, proteins);
        return paths;
    }
    for (std::size_t k = 0; k < paths.size(); ++k) write_residue_labels(file, paths[k], config.kinds[k], proteins);
    return paths;
}

}  // namespace protalbert
