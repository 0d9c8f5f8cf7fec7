// Text of unknown origin, made fit for a message: one line, valid UTF-8, of bounded length.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace llmcore::gguf {

bool is_utf8(std::string_view text);

// `text` between single quotes. Bytes that are no valid UTF-8 and characters that do not print (controls,
// text direction marks) become \xNN; after `limit` bytes the rest is cut and its length told.
std::string printable(std::string_view text, std::size_t limit = 80);

}  // namespace llmcore::gguf
