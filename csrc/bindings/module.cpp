// The extension module: error translation, and one bind_<topic> for each <topic>.cpp beside this file.
#include <pybind11/pybind11.h>

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
        PyErr_SetString(type.ptr(), error.what());
    }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native core of llmcore. Use the llmcore package; names here may change.";
    m.attr("__version__") = LLMCORE_VERSION;
    py::register_exception_translator(&translate);
    bind_all(m);
}
