// GGUFFile: a checked GGUF file. Vocabularies cross into Python in one pass, tensors as views of the mapped
// file.
#include "gguf/reader.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstring>
#include <memory>

#include "base/error.h"
#include "bindings/gguf_file.h"
#include "gguf/printable.h"
#include "quant/format_table.h"

namespace py = pybind11;

namespace {

using llmcore::bindings::PyFile;
using llmcore::gguf::File;
using llmcore::gguf::TensorInfo;
using llmcore::gguf::Value;
using llmcore::gguf::ValueType;

py::str decode(std::string_view text) {
    PyObject* decoded =
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape");
    if (decoded == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::str>(decoded);
}

py::list decode_all(const std::vector<std::string_view>& texts) {
    py::list result(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        PyList_SET_ITEM(result.ptr(), static_cast<Py_ssize_t>(i), decode(texts[i]).release().ptr());
    }
    return result;
}

py::dtype dtype_of(ValueType type) {
    switch (type) {
        case ValueType::u8:
            return py::dtype::of<std::uint8_t>();
        case ValueType::i8:
            return py::dtype::of<std::int8_t>();
        case ValueType::u16:
            return py::dtype::of<std::uint16_t>();
        case ValueType::i16:
            return py::dtype::of<std::int16_t>();
        case ValueType::u32:
            return py::dtype::of<std::uint32_t>();
        case ValueType::i32:
            return py::dtype::of<std::int32_t>();
        case ValueType::u64:
            return py::dtype::of<std::uint64_t>();
        case ValueType::i64:
            return py::dtype::of<std::int64_t>();
        case ValueType::f32:
            return py::dtype::of<float>();
        case ValueType::f64:
            return py::dtype::of<double>();
        case ValueType::boolean:
            return py::dtype::of<bool>();
        case ValueType::string:
        case ValueType::array:
            break;
    }
    llmcore::fail(llmcore::ErrorCode::internal, "gguf", "a value's type has no dtype");
}

// A copy: the file's bytes lie at any address, aligned or not.
py::array copy_numbers(const Value& value) {
    py::array result(dtype_of(value.type()), static_cast<py::ssize_t>(value.count()));
    if (!value.bytes().empty()) {
        std::memcpy(result.mutable_data(), value.bytes().data(), value.bytes().size());
    }
    return result;
}

py::object to_python(const Value& value) {
    if (value.is_array()) {
        if (const auto texts = value.as_strings()) return decode_all(*texts);
        return copy_numbers(value);
    }
    if (const auto text = value.as_string()) return decode(*text);
    if (const auto truth = value.as_bool()) return py::bool_(*truth);
    if (value.type() == ValueType::u64) {
        std::uint64_t number = 0;
        std::memcpy(&number, value.bytes().data(), sizeof number);
        return py::int_(number);
    }
    if (const auto number = value.as_int()) return py::int_(*number);
    return py::float_(value.as_float().value());
}

PyFile open_path(const std::filesystem::path& path) {
    const py::gil_scoped_release release;
    return {std::make_shared<const File>(File::open(path)), py::object()};
}

PyFile open_bytes(const py::object& data) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(data.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw py::error_already_set();
    const std::unique_ptr<Py_buffer, decltype(&PyBuffer_Release)> guard(&buffer, &PyBuffer_Release);
    const auto* bytes = static_cast<const std::byte*>(buffer.buf);
    return {std::make_shared<const File>(File::from_bytes({bytes, bytes + buffer.len})), py::object()};
}

py::dict metadata(PyFile& self) {
    if (!self.metadata) {
        py::dict all;
        for (const auto& pair : self.file->metadata()) all[decode(pair.key)] = to_python(pair.value);
        self.metadata = all;
    }
    return self.metadata;
}

py::object get(const PyFile& self, const std::string& key, py::object fallback) {
    const Value* value = self.file->find(key);
    return value == nullptr ? fallback : to_python(*value);
}

py::tuple value_type(const PyFile& self, const std::string& key) {
    const Value* value = self.file->find(key);
    if (value == nullptr)
        llmcore::fail(llmcore::ErrorCode::model, "gguf",
                      "there is no key " + llmcore::gguf::printable(key) + " in the file");
    return py::make_tuple(static_cast<std::uint32_t>(value->type()), value->is_array());
}

py::list keys(const PyFile& self) {
    py::list result;
    for (const auto& pair : self.file->metadata()) result.append(decode(pair.key));
    return result;
}

py::list tensors(const py::object& self) {
    py::list result;
    for (const TensorInfo& tensor : self.cast<const PyFile&>().file->tensors()) {
        result.append(py::cast(&tensor, py::return_value_policy::reference_internal, self));
    }
    return result;
}

py::array tensor_bytes(const PyFile& self, const std::string& name) {
    const TensorInfo* tensor = self.file->find_tensor(name);
    if (tensor == nullptr) {
        llmcore::fail(llmcore::ErrorCode::model, "gguf",
                      "there is no tensor " + llmcore::gguf::printable(name) + " in the file");
    }
    auto owner = std::make_unique<std::shared_ptr<const File>>(self.file);
    const py::capsule base(owner.get(),
                           [](void* held) { delete static_cast<std::shared_ptr<const File>*>(held); });
    owner.release();
    py::array result(py::dtype::of<std::uint8_t>(), {static_cast<py::ssize_t>(tensor->n_bytes)}, {1},
                     tensor->data, base);
    result.attr("setflags")(py::arg("write") = false);
    return result;
}

py::str tensor_repr(const TensorInfo& tensor) {
    return py::str("<GGUFTensor {!r} {} {}>")
        .format(decode(tensor.name), llmcore::format_info(tensor.format).name,
                py::tuple(py::cast(tensor.shape)));
}

}  // namespace

void bind_gguf(py::module_& m) {
    py::class_<TensorInfo>(m, "GGUFTensor", "A tensor of a GGUF file: everything but its bytes.")
        .def_property_readonly("name", [](const TensorInfo& t) { return decode(t.name); })
        .def_property_readonly(
            "type", [](const TensorInfo& t) { return llmcore::format_info(t.format).name; },
            "The format's name, such as 'F32' or 'Q4_K'.")
        .def_property_readonly(
            "shape", [](const TensorInfo& t) { return py::tuple(py::cast(t.shape)); },
            "In GGUF order: shape[0] is the length of a row.")
        .def_readonly("n_bytes", &TensorInfo::n_bytes)
        .def_readonly("part", &TensorInfo::part, "Index into GGUFFile.paths.")
        .def_readonly("file_offset", &TensorInfo::file_offset,
                      "Of the first byte, from the start of its part.")
        .def("__repr__", &tensor_repr);

    py::class_<PyFile>(
        m, "GGUFFile",
        "A GGUF file, version 2 or 3, mapped into memory and checked when it is opened. Of a split "
        "model (name-00001-of-0000N.gguf) all parts are opened, whichever is named.")
        .def(py::init(&open_path), py::arg("path"),
             "Raises GGUFError if the file is missing, damaged or not GGUF.")
        .def_static("from_bytes", &open_bytes, py::arg("data"),
                    "Reads a copy of a bytes-like object. Raises GGUFError as the constructor does.")
        .def_property_readonly("version", [](const PyFile& self) { return self.file->version(); })
        .def_property_readonly(
            "metadata", &metadata,
            "All keys and values, of the first part. Numbers are int or float, arrays of numbers "
            "and booleans NumPy arrays (1-D copies), arrays of strings lists of str. Bytes that "
            "are not UTF-8 become surrogates ('surrogateescape').")
        .def("get", &get, py::arg("key"), py::arg("default") = py::none(),
             "The value of one key, as in metadata.")
        .def("value_type", &value_type, py::arg("key"),
             "(type, is_array): GGUF's number for the type of a value or of an array's elements. Raises "
             "ModelError if there is no such key.")
        .def("keys", &keys, "In file order.")
        .def_property_readonly("tensors", &tensors, "Of all parts, in file order.")
        .def("tensor_bytes", &tensor_bytes, py::arg("name"),
             "The tensor's bytes as stored: a read-only uint8 array of shape (n_bytes,), a view that keeps "
             "the file "
             "open. Raises ModelError if there is no such tensor.")
        .def_property_readonly(
            "file_bytes", [](const PyFile& self) { return self.file->file_bytes(); },
            "The sizes of all parts together.")
        .def_property_readonly(
            "paths", [](const PyFile& self) { return self.file->paths(); },
            "Of all parts; empty if from memory.");
}
