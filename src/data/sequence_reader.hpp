#pragma once
// Reads proteins from FASTA and from the text format (one sequence a line, residues separated by single spaces, a blank
// line ends a document), plain or gzip, from files or standard input. Memory is bounded by the longest record.
//
// Lines may end in LF, CR LF or CR, the last one in nothing; FASTA may hold blank lines and blanks within a sequence,
// the text format more than one blank between letters; lines that begin with ';' or '#' are comments and skipped. A
// record without residues is delivered without tokens. What is what in such a text is said by data/sequence_text.hpp.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/input_counts.hpp"
#include "data/sequence_text.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

/// What happens to a record with a letter that is no residue: error; skip the record; read the letter as X, if it may
/// stand for a residue; or deliver the record with a mark. A '>' within a line of residues is an error under each.
enum class InvalidLetters { error, skip, unknown, mark };

/// One protein. The vectors are the reader's and are overwritten by the next record.
struct SequenceRecord {
    std::string id;                    ///< UTF-8: header_id, may be empty; "FILE:LINE" in the text format
    std::vector<std::uint8_t> tokens;  ///< residue ids, without special tokens
    std::uint64_t position = 0;        ///< of the record's first byte in the (decompressed) file
    std::uint64_t line = 0;            ///< 1-based line of the record's first byte; in FASTA from the part's start
    bool invalid = false;              ///< by InvalidLetters::mark: it has such a letter, and its tokens count nothing
    bool starts_document = true;       ///< FASTA: always; text: after a blank line and at the start
};

constexpr std::uint64_t end_of_file = ~std::uint64_t{0};
constexpr std::uint64_t lines_unknown = ~std::uint64_t{0};

/// Longest protein that is read: a thousand times the longest one known (about 45,000 residues); bounds memory.
constexpr std::size_t longest_sequence = std::size_t{64} << 20;

/// Part of one input that one rank reads: the whole of a gzip file or pipe, or the records of a plain file that begin
/// in [begin, end): in FASTA those whose '>' lies there, in the text format the documents after a blank line that
/// begins there (or at the file's start), so that no document is shared.
struct InputPart {
    std::string path;                             ///< "-" is standard input
    std::uint32_t file = 0;                       ///< index of the input on the command line
    InputFormat format = InputFormat::automatic;  ///< resolved by plan_input, but for pipes
    TextForm form;                                ///< by the input's start
    std::uint64_t begin = 0;
    std::uint64_t end = end_of_file;
    std::uint64_t bytes = 0;  ///< to be read from the file, 0 when unknown
    bool text_ids = true;     ///< whether records of the text format need their id, hence the lines before them
    std::uint64_t lines_before = lines_unknown;  ///< line ends before byte begin - 1; counted when needed and unknown
};

/// Shares the inputs out to `ranks`: plain files by byte range of their total size, gzip files and pipes whole, pipes
/// to rank 0, gzip files to the rank with the least so far. Detects gzip and format by content. The parts of all ranks,
/// index = rank. Throws InputError for a file that is missing, unreadable, empty of records or of neither format.
std::vector<std::vector<InputPart>> plan_input(const std::vector<std::string>& inputs, InputFormat format, int ranks);

/// What the first mebibyte of an input says about the whole.
struct InputEstimate {
    double residues = 0;  ///< 0 for a pipe
    double records = 0;
    double decompressed_bytes = 0;
};
InputEstimate estimate_input(const std::string& path);

/// Fills in lines_before of this rank's parts in the text format, each rank counting its own lines, for a plan of
/// plan_input over the ranks of `communicator`. Collective.
void number_lines(std::vector<InputPart>& parts, std::size_t inputs, const Communicator& communicator);

/// Line ends in bytes [begin, end) of a plain file.
std::uint64_t count_line_ends(const std::string& path, std::uint64_t begin, std::uint64_t end);

/// Reads the records of one part in order and gives each to `deliver`. Throws InputError naming file, line, record and
/// letter. `advance` (may be empty) hears how many compressed or plain bytes have been read so far in this part, every
/// mebibyte or so and while a pipe is silent; it may throw to end the reading.
void read_sequences(const InputPart& part, const Vocabulary& vocabulary, InvalidLetters invalid, InputCounts& counts,
                    const std::function<void(const SequenceRecord&)>& deliver,
                    const std::function<void(std::uint64_t)>& advance = {});

}  // namespace protalbert
