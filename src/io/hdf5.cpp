#include "io/hdf5.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "base/content.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/program.hpp"
#include "io/seal.hpp"

namespace protalbert {

namespace {

/// Datasets from this size start at multiples of it: the stripe of a parallel file system is this or a multiple.
constexpr hsize_t alignment = 1 << 20;
/// Collective transfers are made in pieces of at most this: MPI-IO counts are ints, and 2 GiB is where they end.
constexpr std::uint64_t largest_piece = std::uint64_t{1} << 30;

/// Its messages become exceptions: nothing is printed behind them.
void silence_hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

void require_hdf5(const std::string& path) {
    if (H5Fis_hdf5(path.c_str()) > 0) return;
    std::string start(telling_bytes, '\0');
    std::ifstream stream(path, std::ios::binary);
    stream.read(start.data(), static_cast<std::streamsize>(start.size()));
    start.resize(static_cast<std::size_t>(stream.gcount()));
    const std::string other = foreign_content(start).value_or("");
    throw InputError(fmt::format("{} is not an HDF5 file{}", path, other.empty() ? "" : ": it " + other));
}

herr_t close_shared_file(hid_t file) {
    if (unwinding()) return 0;  // collective: the other ranks may never come
    return H5Fclose(file);
}

/// Names the most likely reason too: MPI-IO reports a full file system as "other error".
void check_write(herr_t status, const std::string& what, const std::string& path) {
    if (status < 0) check_hdf5(status, what + space_hint(path));
}

/// Access to a file by all ranks of `communicator`, or by this process alone when there is none.
Handle file_access(const Communicator* communicator) {
    Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "HDF5 file access");
    // Object headers of version 2 carry checksums, so that damage is noticed; the superblock of HDF5 1.8 lacks the mark
    // "open for writing", which makes a file unreadable after its writer was killed.
    check_hdf5(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "HDF5 version bounds");
    check_hdf5(H5Pset_alignment(access, alignment, alignment), "HDF5 alignment");
    if (communicator) {
        check_hdf5(H5Pset_fapl_mpio(access, communicator->handle(), MPI_INFO_NULL), "HDF5 over MPI-IO");
        check_hdf5(H5Pset_all_coll_metadata_ops(access, true), "HDF5 collective metadata");
        check_hdf5(H5Pset_coll_metadata_write(access, true), "HDF5 collective metadata");
    } else {
        // Locks fail on some network file systems, and MPI-IO takes none either.
        check_hdf5(H5Pset_file_locking(access, false, true), "HDF5 file locking");
    }
    return access;
}

/// One rank alone needs no MPI-IO.
std::shared_ptr<Communicator> shared_between(const Communicator& communicator) {
    return communicator.ranks() == 1 ? nullptr : std::make_shared<Communicator>(communicator.duplicate());
}

Handle float16_type() {
    Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, "HDF5 type float16");
    // IEEE 754 binary16: sign at bit 15, 5 bits of exponent at 10, 10 of mantissa at 0; fields must fit before the
    // size.
    check_hdf5(H5Tset_fields(type, 15, 10, 5, 0, 10), "HDF5 type float16");
    check_hdf5(H5Tset_size(type, 2), "HDF5 type float16");
    check_hdf5(H5Tset_ebias(type, 15), "HDF5 type float16");
    return type;
}

Handle element_type(Element element) {
    const auto copy = [](hid_t type) { return Handle(H5Tcopy(type), H5Tclose, "HDF5 type"); };
    switch (element) {
        case Element::uint8:
            return copy(H5T_STD_U8LE);
        case Element::int32:
            return copy(H5T_STD_I32LE);
        case Element::int64:
            return copy(H5T_STD_I64LE);
        case Element::uint32:
            return copy(H5T_STD_U32LE);
        case Element::uint64:
            return copy(H5T_STD_U64LE);
        case Element::float16:
            return float16_type();
        case Element::float32:
            return copy(H5T_IEEE_F32LE);
        case Element::float64:
            return copy(H5T_IEEE_F64LE);
    }
    throw Error("unknown element type");
}

Handle string_type(std::size_t length) {
    Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "HDF5 string type");
    check_hdf5(H5Tset_size(type, length), "HDF5 string type");
    check_hdf5(H5Tset_cset(type, H5T_CSET_UTF8), "HDF5 string type");
    check_hdf5(H5Tset_strpad(type, H5T_STR_NULLPAD), "HDF5 string type");
    return type;
}

/// The type of a dataset in the file, which is also how programs hold its elements in memory.
Handle stored_type(hid_t dataset) { return Handle(H5Dget_type(dataset), H5Tclose, "HDF5 type of a dataset"); }

std::vector<std::uint64_t> extent(hid_t dataset) {
    const Handle space(H5Dget_space(dataset), H5Sclose, "HDF5 dataspace");
    std::vector<hsize_t> sizes(static_cast<std::size_t>(std::max(0, H5Sget_simple_extent_ndims(space))));
    check_hdf5(H5Sget_simple_extent_dims(space, sizes.data(), nullptr), "HDF5 dataspace");
    return {sizes.begin(), sizes.end()};
}

/// The groups on the way to `name`: for "/a/b/c" these are "/a" and "/a/b".
std::vector<std::string> groups_above(const std::string& name) {
    std::vector<std::string> groups;
    for (auto slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1))
        groups.push_back(name.substr(0, slash));
    return groups;
}

/// Creation properties without times, so that equal content makes equal files.
Handle creation_properties(hid_t object_class) {
    Handle creation(H5Pcreate(object_class), H5Pclose, "HDF5 creation properties");
    check_hdf5(H5Pset_obj_track_times(creation, false), "HDF5 creation properties");
    return creation;
}

}  // namespace

std::size_t element_size(Element element) {
    switch (element) {
        case Element::uint8:
            return 1;
        case Element::float16:
            return 2;
        case Element::int32:
        case Element::uint32:
        case Element::float32:
            return 4;
        case Element::int64:
        case Element::uint64:
        case Element::float64:
            return 8;
    }
    throw Error("unknown element type");
}

Hdf5File Hdf5File::create(const std::string& path, const Communicator& communicator) {
    silence_hdf5();
    on_root(communicator, [&] { require_writable_place(path, "output file"); });
    Hdf5File file;
    file.path_ = path;
    file.communicator_ = shared_between(communicator);
    const Handle access = file_access(file.communicator_.get());
    const Handle creation = creation_properties(H5P_FILE_CREATE);
    file.file_ = Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access),
                        file.communicator_ ? close_shared_file : H5Fclose,
                        fmt::format("cannot create {}{}", path, space_hint(path)));
    return file;
}

Hdf5File Hdf5File::open(const std::string& path, const Communicator& communicator, bool writable) {
    on_root(communicator, [&] {
        require_readable_file(path, "HDF5 file");
        check_seal(path);
        silence_hdf5();
        require_hdf5(path);
        if (writable && access(path.c_str(), W_OK) != 0)
            throw Error(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    });
    silence_hdf5();
    Hdf5File file;
    file.path_ = path;
    file.communicator_ = shared_between(communicator);
    const Handle access = file_access(file.communicator_.get());
    try {
        file.file_ =
            Handle(H5Fopen(path.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access),
                   file.communicator_ ? close_shared_file : H5Fclose, fmt::format("{} is damaged or incomplete", path));
    } catch (const Error& error) {
        throw InputError(error.what());
    }
    return file;
}

Hdf5File Hdf5File::create_alone(const std::string& path, std::uint64_t reserve) {
    silence_hdf5();
    require_writable_place(path, "output file");
    Hdf5File file;
    file.path_ = path;
    const Handle access = file_access(nullptr);
    const Handle creation = creation_properties(H5P_FILE_CREATE);
    file.file_ = Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose,
                        fmt::format("cannot create {}{}", path, space_hint(path)));
    reserve_space(path, 0, reserve);
    return file;
}

Hdf5File Hdf5File::open_alone(const std::string& path, std::uint64_t seal_end) {
    require_readable_file(path, "HDF5 file");
    check_seal(path, seal_end);
    silence_hdf5();
    require_hdf5(path);
    Hdf5File file;
    file.path_ = path;
    const Handle access = file_access(nullptr);
    try {
        file.file_ = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose,
                            fmt::format("{} is damaged or incomplete", path));
    } catch (const Error& error) {
        throw InputError(error.what());
    }
    return file;
}

Hdf5File Hdf5File::reopen_alone(const std::string& path) {
    silence_hdf5();
    Hdf5File file;
    file.path_ = path;
    const Handle access = file_access(nullptr);
    file.file_ = Handle(H5Fopen(path.c_str(), H5F_ACC_RDWR, access), H5Fclose, fmt::format("cannot write {}", path));
    return file;
}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    const Hdf5File old(std::move(*this));  // closes what was held, datasets first
    path_ = std::move(other.path_);
    communicator_ = std::move(other.communicator_);
    file_ = std::move(other.file_);
    datasets_ = std::move(other.datasets_);
    return *this;
}

void Hdf5File::flush() { check_write(H5Fflush(file_, H5F_SCOPE_GLOBAL), fmt::format("cannot write {}", path_), path_); }

void Hdf5File::close() {
    datasets_.clear();
    file_.close(fmt::format("cannot finish {}", path_));
    communicator_.reset();
}

void Hdf5File::close_dataset(const std::string& name) { datasets_.erase(name); }

bool Hdf5File::exists(const std::string& name) const {
    if (name == "/" || datasets_.contains(name)) return true;
    const auto linked = [&](const std::string& path) { return H5Lexists(file_, path.c_str(), H5P_DEFAULT) > 0; };
    const std::vector<std::string> groups = groups_above(name);
    return std::all_of(groups.begin(), groups.end(), linked) && linked(name);
}

Handle Hdf5File::object(const std::string& name) const {
    if (!exists(name)) throw InputError(fmt::format("{} has no {}", path_, name));
    try {
        return Handle(H5Oopen(file_, name.c_str(), H5P_DEFAULT), H5Oclose,
                      fmt::format("{} is damaged: cannot open {}", path_, name));
    } catch (const Error& error) {
        throw InputError(error.what());
    }
}

hid_t Hdf5File::dataset(const std::string& name) const {
    const auto known = datasets_.find(name);
    if (known != datasets_.end()) return known->second;
    Handle opened = object(name);
    if (H5Iget_type(opened) != H5I_DATASET) throw InputError(fmt::format("{}: {} is not a dataset", path_, name));
    return datasets_.emplace(name, std::move(opened)).first->second;
}

std::vector<std::string> Hdf5File::list(const std::string& group) const {
    std::vector<std::string> names;
    const Handle opened = object(group);
    const auto remember = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
        static_cast<std::vector<std::string>*>(list)->emplace_back(name);
        return 0;
    };
    if (H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, remember, &names) < 0)
        throw InputError(fmt::format("{} is damaged: cannot list {}", path_, group));
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::uint64_t> Hdf5File::shape(const std::string& name) const { return extent(dataset(name)); }

Element Hdf5File::element(const std::string& name) const {
    const Handle type = stored_type(dataset(name));
    for (const Element element : {Element::uint8, Element::int32, Element::int64, Element::uint32, Element::uint64,
                                  Element::float16, Element::float32, Element::float64})
        if (H5Tequal(type, element_type(element)) > 0) return element;
    throw InputError(fmt::format("{}: {} has elements of a type that this program does not use", path_, name));
}

std::uint64_t Hdf5File::file_offset(const std::string& name) const {
    const hid_t opened = dataset(name);
    const Handle creation(H5Dget_create_plist(opened), H5Pclose, "HDF5 creation properties");
    if (H5Pget_layout(creation) != H5D_CONTIGUOUS)
        throw InputError(
            fmt::format("{}: {} is not stored in one piece (chunked or compressed); make it anew with "
                        "protalbert's own program",
                        path_, name));
    const haddr_t offset = H5Dget_offset(opened);
    if (offset != HADDR_UNDEF) return offset;
    const std::vector<std::uint64_t> sizes = extent(opened);
    if (std::count(sizes.begin(), sizes.end(), 0) > 0) return 0;  // nothing is stored of an empty dataset
    throw InputError(fmt::format("{} is damaged: {} was never written", path_, name));
}

void Hdf5File::create_contiguous(const std::string& name, hid_t type, const std::vector<std::uint64_t>& shape) {
    const std::string what = fmt::format("cannot create {} in {}", name, path_);
    const Handle group_creation = creation_properties(H5P_GROUP_CREATE);
    for (const std::string& group : groups_above(name))
        if (!exists(group))
            Handle(H5Gcreate2(file_, group.c_str(), H5P_DEFAULT, group_creation, H5P_DEFAULT), H5Gclose, what);
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose, what);
    const Handle creation = creation_properties(H5P_DATASET_CREATE);
    check_hdf5(H5Pset_layout(creation, H5D_CONTIGUOUS), what);
    check_hdf5(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY), what);
    check_hdf5(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER), what);
    Handle created(H5Dcreate2(file_, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, what);
    // HDF5 gives a dataset its place in the file but no blocks of the disk, and Open MPI's collective writes do not
    // notice that a full one took only a part of them.
    const std::uint64_t bytes = H5Dget_storage_size(created), offset = H5Dget_offset(created);
    datasets_.emplace(name, std::move(created));
    if (bytes < alignment) return;
    const auto reserve = [&] { reserve_space(path_, offset, bytes); };
    communicator_ ? on_root(*communicator_, reserve) : reserve();
}

void Hdf5File::create_dataset(const std::string& name, Element element, const std::vector<std::uint64_t>& shape) {
    create_contiguous(name, element_type(element), shape);
}

void Hdf5File::create_strings(const std::string& name, std::uint64_t count, std::size_t length) {
    create_contiguous(name, string_type(std::max<std::size_t>(1, length)), {count});
}

void Hdf5File::transfer(const std::string& name, void* data, Rows rows, Direction direction, bool collective) const {
    PROTALBERT_CHECK(collective || !communicator_ || datasets_.contains(name),
                     "open the dataset on all ranks before an independent transfer: " + name);
    const hid_t opened = dataset(name);
    const Handle type = stored_type(opened);
    const std::vector<std::uint64_t> shape = extent(opened);
    PROTALBERT_CHECK(!shape.empty() && rows.first <= shape[0] && rows.count <= shape[0] - rows.first,
                     fmt::format("{} rows from {} of {} in {}", rows.count, rows.first, name, path_));
    const std::uint64_t row_bytes =
        std::accumulate(shape.begin() + 1, shape.end(), std::uint64_t{H5Tget_size(type)}, std::multiplies<>());
    const std::uint64_t piece_rows = std::max<std::uint64_t>(1, largest_piece / std::max<std::uint64_t>(1, row_bytes));
    auto pieces = static_cast<std::int64_t>((rows.count + piece_rows - 1) / piece_rows);
    if (collective && communicator_) pieces = communicator_->maximum(pieces);

    const std::string what = fmt::format("cannot {} {} {} {}", direction == Direction::write ? "write" : "read", name,
                                         direction == Direction::write ? "to" : "from", path_);
    const Handle mode(H5Pcreate(H5P_DATASET_XFER), H5Pclose, what);
    if (communicator_)
        check_hdf5(H5Pset_dxpl_mpio(mode, collective ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT), what);
    const Handle file_space(H5Dget_space(opened), H5Sclose, what);
    std::vector<hsize_t> start(shape.size(), 0), count(shape.begin(), shape.end());
    auto* place = static_cast<std::byte*>(data);
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
        const std::uint64_t done = std::min(rows.count, static_cast<std::uint64_t>(piece) * piece_rows);
        start[0] = rows.first + done;
        count[0] = std::min(piece_rows, rows.count - done);
        const Handle memory_space(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose,
                                  what);
        if (count[0] == 0) {
            check_hdf5(H5Sselect_none(file_space), what);
            check_hdf5(H5Sselect_none(memory_space), what);
        } else {
            check_hdf5(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
                       what);
        }
        if (direction == Direction::write)
            check_write(H5Dwrite(opened, type, memory_space, file_space, mode, place), what, path_);
        else
            check_hdf5(H5Dread(opened, type, memory_space, file_space, mode, place), what);
        place += count[0] * row_bytes;
    }
}

void Hdf5File::write(const std::string& name, const void* data, Rows rows) {
    transfer(name, const_cast<void*>(data), rows, Direction::write, true);
}
void Hdf5File::read(const std::string& name, void* data, Rows rows) const {
    transfer(name, data, rows, Direction::read, true);
}
void Hdf5File::write_independent(const std::string& name, const void* data, Rows rows) {
    transfer(name, const_cast<void*>(data), rows, Direction::write, false);
}
void Hdf5File::read_independent(const std::string& name, void* data, Rows rows) const {
    transfer(name, data, rows, Direction::read, false);
}

void Hdf5File::write_strings(const std::string& name, const std::vector<std::string>& values, std::uint64_t first) {
    const std::size_t length = H5Tget_size(stored_type(dataset(name)));
    std::string packed(values.size() * length, '\0');
    for (std::size_t i = 0; i < values.size(); ++i) {
        PROTALBERT_CHECK(values[i].size() <= length,
                         fmt::format("\"{}\" is longer than the {} bytes of {}", values[i], length, name));
        values[i].copy(packed.data() + i * length, length);
    }
    write(name, packed.data(), {first, values.size()});
}

std::vector<std::string> Hdf5File::read_strings(const std::string& name, Rows rows) const {
    const Handle type = stored_type(dataset(name));
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0)
        throw InputError(fmt::format("{}: {} does not hold strings of fixed length", path_, name));
    const std::size_t length = H5Tget_size(type);
    // More than there is, and what HDF5 may have compressed: such a dataset was never written, and would fill the
    // memory.
    constexpr std::uint64_t least_bound = std::uint64_t{64} << 20;
    const std::uint64_t most = std::max<std::uint64_t>(least_bound, std::filesystem::file_size(path_));
    if (rows.count > most / length)
        throw InputError(
            fmt::format("{}: {} says that it holds {} strings of {} bytes, more than the file has; it is damaged",
                        path_, name, rows.count, length));
    std::string packed(rows.count * length, '\0');
    read(name, packed.data(), rows);
    std::vector<std::string> values(rows.count);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const char* const value = packed.data() + i * length;
        values[i].assign(value, strnlen(value, length));
    }
    return values;
}

std::vector<std::string> Hdf5File::read_strings(const std::string& name) const {
    const std::vector<std::uint64_t> sizes = shape(name);
    if (sizes.size() != 1) throw InputError(fmt::format("{}: {} is not a list of strings", path_, name));
    return read_strings(name, {0, sizes[0]});
}

}  // namespace protalbert
