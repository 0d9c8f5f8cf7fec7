// Small text files of the system. Without iostreams: where two copies of the C++ library meet in a process,
// their locales do not.
#pragma once

#include <string>

namespace llmcore {

// The file's text; empty if it is not there or cannot be read.
std::string read_text_file(const char* path);

}  // namespace llmcore
