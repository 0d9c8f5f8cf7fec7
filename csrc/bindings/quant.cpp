// Tensor formats, scalar dequantization and quantization, for tests and tools.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"
#include "quant/format_table.h"
#include "quant/quantize.h"

namespace py = pybind11;

namespace {

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Matrix = py::array_t<float, py::array::c_style>;

py::list formats() {
    py::list result;
    for (const llmcore::FormatInfo& info : llmcore::all_formats()) {
        py::dict entry;
        entry["type"] = static_cast<std::uint32_t>(info.format);
        entry["name"] = info.name;
        entry["block_elements"] = info.block_elements;
        entry["block_bytes"] = info.block_bytes;
        entry["can_dequantize"] = info.can_dequantize;
        entry["can_quantize"] = llmcore::can_quantize(info.format);
        result.append(entry);
    }
    return result;
}

const llmcore::FormatInfo* named_format(const std::string& type_name) {
    const llmcore::FormatInfo* info = llmcore::find_format(type_name);
    if (info == nullptr)
        llmcore::fail(llmcore::ErrorCode::invalid_argument, "quant", "unknown tensor format", type_name,
                      "a name from formats()");
    return info;
}

py::array_t<float> dequantize(const std::string& type_name, const Bytes& data, std::int64_t n) {
    const llmcore::FormatInfo* info = named_format(type_name);
    if (n < 0 || n % info->block_elements != 0)
        llmcore::fail(llmcore::ErrorCode::invalid_argument, "quant", "not whole blocks",
                      std::to_string(n) + " elements",
                      "a multiple of " + std::to_string(info->block_elements));
    // Divided, not multiplied: n is the caller's and may be huge.
    if (data.size() % info->block_bytes != 0 || data.size() / info->block_bytes != n / info->block_elements)
        llmcore::fail(
            llmcore::ErrorCode::invalid_argument, "quant", "the data does not hold that many elements",
            std::to_string(data.size()) + " bytes for " + std::to_string(n) + " elements",
            std::to_string(info->block_bytes) + " bytes every " + std::to_string(info->block_elements));
    if (!info->can_dequantize)
        llmcore::fail(llmcore::ErrorCode::model, "quant", "this build cannot dequantize the tensor format",
                      info->name, "one whose can_dequantize is true in formats()");
    py::array_t<float> out(n);
    const std::uint8_t* source = data.data();
    float* target = out.mutable_data();
    {
        py::gil_scoped_release release;
        llmcore::dequantize(info->format, source, target, n);
    }
    return out;
}

py::array_t<std::uint8_t> quantize(const std::string& type_name, const Matrix& values) {
    const llmcore::FormatInfo* info = named_format(type_name);
    if (values.ndim() != 2)
        llmcore::fail(llmcore::ErrorCode::invalid_argument, "quant", "quantize() takes a matrix",
                      std::to_string(values.ndim()) + " dimensions", "2: rows and columns");
    if (values.shape(1) % info->block_elements != 0)
        llmcore::fail(llmcore::ErrorCode::invalid_argument, "quant",
                      std::string("a row is not whole blocks of ") + info->name,
                      std::to_string(values.shape(1)) + " columns",
                      "a multiple of " + std::to_string(info->block_elements));
    const std::int64_t row_bytes = llmcore::row_bytes(info->format, values.shape(1));
    py::array_t<std::uint8_t> out({static_cast<std::int64_t>(values.shape(0)), row_bytes});
    const float* source = values.data();
    const std::int64_t count = values.size();
    std::uint8_t* target = out.mutable_data();
    {
        py::gil_scoped_release release;
        llmcore::quantize(info->format, source, target, count);
    }
    return out;
}

}  // namespace

void bind_quant(py::module_& m) {
    m.def("formats", &formats,
          "Every tensor format of GGUF: a list of dicts with type (int), name, block_elements, block_bytes, "
          "can_dequantize and can_quantize.");
    m.def("dequantize", &dequantize, py::arg("type_name"), py::arg("data"), py::arg("n"),
          "Expands n elements of the format from a uint8 array; returns float32 of shape (n,), bit for bit "
          "what "
          "gguf.quants.dequantize computes. Raises InvalidArgumentError for an unknown name or a size that "
          "does not "
          "fit, ModelError for a format that cannot be dequantized.");
    m.def(
        "quantize", &quantize, py::arg("type_name"), py::arg("values"),
        "Writes a float32 matrix (rows, columns) in the format, with scales that minimise the squared error; "
        "returns uint8 of shape (rows, bytes of a row). Other threads run meanwhile. Raises "
        "InvalidArgumentError for an unknown name, columns that are not whole blocks, a NaN or an infinity, "
        "ModelError for a format that cannot be written.");
}
