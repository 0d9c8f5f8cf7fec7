// Names and sizes of the metadata types.
#pragma once

#include <cstddef>
#include <string_view>

#include "gguf/reader.h"

namespace llmcore::gguf {

std::string_view name_of(ValueType type);

// Bytes of a number or boolean; 0 for strings and arrays.
std::size_t size_of(ValueType type);

}  // namespace llmcore::gguf
