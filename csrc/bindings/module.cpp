// The extension module: error translation, and one bind_<topic> for each <topic>.cpp beside this file.
#include <pybind11/pybind11.h>

#include <string_view>

#include "base/error.h"

namespace py = pybind11;

// Generated from the names of the files: declares bind_<topic>(py::module_&) and defines bind_all.
#include "binding_list.inc"

namespace {

const char* exception_name(llmcore::ErrorCode code) {
    switch (code) {
        case llmcore::ErrorCode::invalid_argument:
            return "InvalidArgumentError";
        case llmcore::ErrorCode::gguf:
            return "GGUFError";
        case llmcore::ErrorCode::model:
            return "ModelError";
        case llmcore::ErrorCode::context_length:
            return "ContextLengthError";
        case llmcore::ErrorCode::queue_full:
            return "QueueFullError";
        case llmcore::ErrorCode::deadline:
            return "DeadlineExceededError";
        case llmcore::ErrorCode::grammar:
            return "GrammarError";
        case llmcore::ErrorCode::internal:
            break;
    }
    return "LLMCoreError";
}

void translate(std::exception_ptr pointer) {
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const llmcore::Error& error) {
        const py::object type = py::module_::import("llmcore.errors").attr(exception_name(error.code()));
        // Messages quote files and arguments: whatever is not UTF-8 there must not hide the error.
        const std::string_view what = error.what();
        const auto message = py::reinterpret_steal<py::object>(
            PyUnicode_DecodeUTF8(what.data(), static_cast<Py_ssize_t>(what.size()), "backslashreplace"));
        if (message) PyErr_SetObject(type.ptr(), message.ptr());
    }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native core of llmcore. Use the llmcore package; names here may change.";
    m.attr("__version__") = LLMCORE_VERSION;
    py::register_exception_translator(&translate);
    bind_all(m);
}
