// Joins token bytes into text that never splits a UTF-8 character.
#pragma once

#include <string>
#include <string_view>

namespace llmcore {

class Utf8Assembler {
public:
    // Appends bytes and returns the text that is complete now. Bytes that can never become a character are
    // replaced by U+FFFD at once (one per maximal invalid subpart, as Python's "replace" does).
    std::string push(std::string_view bytes);
    // What is left at the end: an incomplete character becomes U+FFFD.
    std::string flush();

private:
    std::string pending_;  // at most three bytes: the beginning of a character
};

}  // namespace llmcore
