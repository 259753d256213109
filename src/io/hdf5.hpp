#pragma once
// Parallel HDF5 with RAII handles and checked calls. Every file is opened by all ranks of a communicator; calls are
// collective unless their name says independent. HDF5 is not thread-safe: one thread at a time (hdf5_lock).
// What is opened for reading is checked against its seal (io/seal.hpp) first, if it has one.
// A file, dataset or attribute that is missing, damaged or of another type is an InputError that names it; what fails
// in writing is an Error that says why. During an exception a file shared by several ranks is left open, since closing
// it would wait for the others.

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace protalbert {

/// An HDF5 identifier that closes itself.
class Handle {
  public:
    Handle() = default;
    /// Takes ownership; throws Error with `what` and HDF5's own message when `id` is negative.
    Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what);
    Handle(Handle&& other) noexcept;
    Handle& operator=(Handle&& other) noexcept;
    ~Handle();
    operator hid_t() const { return id_; }
    /// Closes now; throws like the constructor.
    void close(const std::string& what);

  private:
    hid_t id_ = -1;
    herr_t (*close_)(hid_t) = nullptr;
};

/// Throws Error with `what` and HDF5's own message when `status` is negative.
void check_hdf5(herr_t status, const std::string& what);

/// Held around every use of HDF5 by programs in which a second thread uses it too.
std::recursive_mutex& hdf5_lock();

enum class Element { uint8, int32, int64, uint32, uint64, float16, float32, float64 };
std::size_t element_size(Element element);

/// A rectangular piece of a dataset: rows [first, first + count) with all trailing dimensions.
struct Rows {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

class Hdf5File {
  public:
    Hdf5File(Hdf5File&&) = default;
    Hdf5File& operator=(Hdf5File&& other) noexcept;

    /// Creates a file (replacing one) or opens one, collectively over `communicator`. Metadata is collective, datasets
    /// contiguous, allocated early and never filled, aligned to 1 MiB so that stripes are not shared.
    static Hdf5File create(const std::string& path, const Communicator& communicator);
    static Hdf5File open(const std::string& path, const Communicator& communicator, bool writable = false);
    /// Created by this process alone. `reserve`: bytes of the disk to claim at once; throws Error when there are fewer.
    static Hdf5File create_alone(const std::string& path, std::uint64_t reserve);
    /// Opened by this process alone, for reading. `seal_end` as for check_seal.
    static Hdf5File open_alone(const std::string& path, std::uint64_t seal_end = 0);
    /// Opened by this process alone, for writing; there must be no seal, which would be cut off.
    static Hdf5File reopen_alone(const std::string& path);

    const std::string& path() const { return path_; }
    hid_t id() const { return file_; }
    void flush();
    /// Closes now, with errors reported (the destructor cannot).
    void close();
    /// Closes one dataset, which otherwise stays open as long as the file: for files with very many.
    void close_dataset(const std::string& name);

    bool exists(const std::string& name) const;
    /// Names of the members of a group, sorted.
    std::vector<std::string> list(const std::string& group) const;
    std::vector<std::uint64_t> shape(const std::string& dataset) const;
    Element element(const std::string& dataset) const;
    /// Byte position of a contiguous dataset's first element in the file, for plain reads beside HDF5.
    std::uint64_t file_offset(const std::string& dataset) const;

    /// Groups in the name are made on the way.
    void create_dataset(const std::string& name, Element element, const std::vector<std::uint64_t>& shape);
    /// Fixed-length UTF-8 strings of at most `length` bytes, read by h5py as bytes (as str by its asstr()).
    void create_strings(const std::string& name, std::uint64_t count, std::size_t length);

    /// Every rank writes or reads its own rows (collective transfer; a rank without rows passes count 0). Pieces above
    /// 2 GiB are split. `data` is in the dataset's element type.
    void write(const std::string& name, const void* data, Rows rows);
    void read(const std::string& name, void* data, Rows rows) const;
    // Independent transfers may be made by any rank at any time, of datasets that all ranks have named in a collective
    // call before (shape() will do): opening one is collective.
    void write_independent(const std::string& name, const void* data, Rows rows);
    void read_independent(const std::string& name, void* data, Rows rows) const;
    void write_strings(const std::string& name, const std::vector<std::string>& values, std::uint64_t first);
    std::vector<std::string> read_strings(const std::string& name, Rows rows) const;
    std::vector<std::string> read_strings(const std::string& name) const;

    // Attributes of a group or dataset ("/" for the file): every rank passes the same value. Setting replaces.
    void set_attribute(const std::string& object, const std::string& name, const std::string& value);
    void set_attribute(const std::string& object, const std::string& name, std::int64_t value);
    void set_attribute(const std::string& object, const std::string& name, std::uint64_t value);
    void set_attribute(const std::string& object, const std::string& name, double value);
    bool has_attribute(const std::string& object, const std::string& name) const;
    std::string text_attribute(const std::string& object, const std::string& name) const;
    std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
    std::uint64_t unsigned_attribute(const std::string& object, const std::string& name) const;
    double number_attribute(const std::string& object, const std::string& name) const;

  private:
    Hdf5File() = default;
    hid_t dataset(const std::string& name) const;
    Handle object(const std::string& name) const;
    Handle attribute(const std::string& object, const std::string& name) const;
    void create_contiguous(const std::string& name, hid_t type, const std::vector<std::uint64_t>& shape);
    void set_attribute(const std::string& object, const std::string& name, hid_t type, const void* value);

    enum class Direction { write, read };
    void transfer(const std::string& name, void* data, Rows rows, Direction direction, bool collective) const;

    std::string path_;
    std::shared_ptr<Communicator> communicator_;  // none: opened by this process alone
    Handle file_;
    mutable std::map<std::string, Handle> datasets_;  // open ones; after file_, to be closed before it
};

/// Marks a file as one of the project's: attributes `format` ("protalbert corpus"...), `version` and the program's.
void write_format(Hdf5File& file, const std::string& format, std::int64_t version);
/// Throws InputError naming the file unless it is of `format` and at most of `newest_version`.
void check_format(const Hdf5File& file, const std::string& format, std::int64_t newest_version);

}  // namespace protalbert
