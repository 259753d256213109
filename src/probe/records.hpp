#pragma once
// Records of FASTA files whose lines are labels, masks or residues: small files, that every rank holds whole.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/content.hpp"
#include "comm/communicator.hpp"

namespace protalbert {

struct Record {
    std::string id;                   ///< header_id of the header
    std::vector<std::string> fields;  ///< the other words
    std::string text;                 ///< the lines behind the header, without white space
    std::uint64_t line = 0;           ///< of the header, from 1
    bool blanks = false;              ///< there were some before letters of a line
};

struct RecordFile {
    std::vector<Record> records;
    TextForm form;  ///< for the commands of messages
};

/// A file's records, plain or gzip, read as protalbert_prepare reads FASTA; rank 0 reads, all ranks get them. `what`
/// names the file's kind. Collective. Throws InputError for a file that cannot be read or is no FASTA, a header without
/// id, and a '>' among the letters.
RecordFile read_records(const std::string& path, const std::string& what, const Communicator& communicator);

/// "FILE:LINE: ID".
std::string record_place(const std::string& path, const Record& record);

/// Places of records by id.
class RecordIndex {
  public:
    RecordIndex(const std::string& path, const std::string& what, const std::vector<Record>& records);
    /// Throws InputError for an id that the file lacks; `wanted_by` says who needs it.
    const Record& find(const std::string& id, const std::string& wanted_by) const;

  private:
    std::string path_, what_;
    const std::vector<Record>& records_;
    std::vector<std::uint32_t> order_;  ///< of the records, by id
};

}  // namespace protalbert
