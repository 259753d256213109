// Attributes of Hdf5File. Text is stored as variable-length UTF-8, which h5py reads as str and which may exceed the
// 64 KiB that HDF5 allows for an attribute inside an object's header.
#include <fmt/format.h>

#include <cstring>

#include "base/error.hpp"
#include "base/text.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

namespace {

Handle text_type() {
    Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "HDF5 string type");
    check_hdf5(H5Tset_size(type, H5T_VARIABLE), "HDF5 string type");
    check_hdf5(H5Tset_cset(type, H5T_CSET_UTF8), "HDF5 string type");
    return type;
}

std::string place(const std::string& path, const std::string& object, const std::string& name) {
    return object == "/" ? fmt::format("{}: attribute {}", path, name)
                         : fmt::format("{}: attribute {} of {}", path, name, object);
}

}  // namespace

void Hdf5File::set_attribute(const std::string& object_name, const std::string& name, hid_t type, const void* value) {
    const std::string what = "cannot write " + place(path_, object_name, name);
    const Handle owner = object(object_name);
    const htri_t present = H5Aexists(owner, name.c_str());
    check_hdf5(present, what);
    if (present > 0) check_hdf5(H5Adelete(owner, name.c_str()), what);
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose, what);
    const Handle attribute(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what);
    check_hdf5(H5Awrite(attribute, type, value), what);
}

void Hdf5File::set_attribute(const std::string& object, const std::string& name, const std::string& value) {
    const std::string valid = valid_utf8(value);
    const char* const text = valid.c_str();
    set_attribute(object, name, text_type(), static_cast<const void*>(&text));
}
void Hdf5File::set_attribute(const std::string& object, const std::string& name, std::int64_t value) {
    set_attribute(object, name, H5T_STD_I64LE, static_cast<const void*>(&value));
}
void Hdf5File::set_attribute(const std::string& object, const std::string& name, std::uint64_t value) {
    set_attribute(object, name, H5T_STD_U64LE, static_cast<const void*>(&value));
}
void Hdf5File::set_attribute(const std::string& object, const std::string& name, double value) {
    set_attribute(object, name, H5T_IEEE_F64LE, static_cast<const void*>(&value));
}

bool Hdf5File::has_attribute(const std::string& object_name, const std::string& name) const {
    return exists(object_name) && H5Aexists(object(object_name), name.c_str()) > 0;
}

Handle Hdf5File::attribute(const std::string& object_name, const std::string& name) const {
    if (!has_attribute(object_name, name))
        throw InputError(place(path_, object_name, name) + " is missing; is this the right file?");
    try {
        return Handle(H5Aopen(object(object_name), name.c_str(), H5P_DEFAULT), H5Aclose,
                      place(path_, object_name, name) + " is damaged");
    } catch (const Error& error) {
        throw InputError(error.what());
    }
}

std::string Hdf5File::text_attribute(const std::string& object, const std::string& name) const {
    const Handle opened = attribute(object, name);
    const Handle type(H5Aget_type(opened), H5Tclose, "HDF5 attribute type");
    const Handle space(H5Aget_space(opened), H5Sclose, "HDF5 attribute space");
    if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
        throw InputError(place(path_, object, name) + " is not a string");
    if (H5Tis_variable_str(type) > 0) {
        char* text = nullptr;
        if (H5Aread(opened, type, &text) < 0) throw InputError(place(path_, object, name) + " is damaged");
        const std::string value = text ? text : "";
        H5free_memory(text);
        return value;
    }
    std::string value(H5Tget_size(type), '\0');
    if (H5Aread(opened, type, value.data()) < 0) throw InputError(place(path_, object, name) + " is damaged");
    value.resize(strnlen(value.c_str(), value.size()));
    return value;
}

namespace {

/// Reads a scalar number, converted by HDF5 to `type`; integers only when `whole`.
template <class Value>
Value read_number(hid_t attribute, hid_t type, bool whole, const std::string& place) {
    const Handle stored(H5Aget_type(attribute), H5Tclose, "HDF5 attribute type");
    const Handle space(H5Aget_space(attribute), H5Sclose, "HDF5 attribute space");
    const H5T_class_t kind = H5Tget_class(stored);
    if (H5Sget_simple_extent_npoints(space) != 1 || (kind != H5T_INTEGER && (whole || kind != H5T_FLOAT)))
        throw InputError(place + (whole ? " is not a whole number" : " is not a number"));
    Value value{};
    if (H5Aread(attribute, type, &value) < 0) throw InputError(place + " is damaged");
    return value;
}

}  // namespace

std::int64_t Hdf5File::integer_attribute(const std::string& object, const std::string& name) const {
    return read_number<std::int64_t>(attribute(object, name), H5T_NATIVE_INT64, true, place(path_, object, name));
}
std::uint64_t Hdf5File::unsigned_attribute(const std::string& object, const std::string& name) const {
    return read_number<std::uint64_t>(attribute(object, name), H5T_NATIVE_UINT64, true, place(path_, object, name));
}
double Hdf5File::number_attribute(const std::string& object, const std::string& name) const {
    return read_number<double>(attribute(object, name), H5T_NATIVE_DOUBLE, false, place(path_, object, name));
}

void write_format(Hdf5File& file, const std::string& format, std::int64_t version) {
    file.set_attribute("/", "format", format);
    file.set_attribute("/", "version", version);
    file.set_attribute("/", "program", program_version());
}

void check_format(const Hdf5File& file, const std::string& format, std::int64_t newest_version) {
    if (!file.has_attribute("/", "format") || !file.has_attribute("/", "version"))
        throw InputError(fmt::format("{} is not a {}: it carries no format", file.path(), format));
    const std::string found = file.text_attribute("/", "format");
    if (found != format) throw InputError(fmt::format("{} is a {}, not a {}", file.path(), found, format));
    const std::int64_t version = file.integer_attribute("/", "version");
    if (version < 1 || version > newest_version)
        throw InputError(
            fmt::format("{} has version {} of the format \"{}\"; this program reads up to {}: use a newer "
                        "program",
                        file.path(), version, format, newest_version));
}

}  // namespace protalbert
