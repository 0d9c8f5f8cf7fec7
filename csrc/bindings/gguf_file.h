// The object behind Python's GGUFFile, for bindings that take one.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "gguf/reader.h"

namespace llmcore::bindings {

// Arrays that look into the file share it, and so outlive the GGUFFile they came from.
struct PyFile {
    std::shared_ptr<const gguf::File> file;
    pybind11::object metadata;  // a dict once somebody has asked for all of it
};

}  // namespace llmcore::bindings
