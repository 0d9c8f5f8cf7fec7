// Ends text at a stop string, and holds back what may be the beginning of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llmcore {

class StopMatcher {
public:
    StopMatcher() = default;
    // Empty stop strings are ignored. Throws Error(invalid_argument) for one that is not UTF-8.
    explicit StopMatcher(std::vector<std::string> stops);

    // Takes the next text (whole UTF-8 characters, as Utf8Assembler gives them) and returns what is safe to
    // release: everything but the longest suffix that may still grow into a stop string. The stop string that
    // is complete first ends the text, the longest if several are complete at once, so the result does not
    // depend on how the text was cut into pushes. Text before it is returned, `stopped()` holds, and it and
    // whatever follows are dropped.
    std::string push(std::string_view text);
    bool stopped() const { return stopped_; }
    // The stop string that ended the text; empty before.
    const std::string& matched() const { return matched_; }
    // At the end of the text: what was held back. Nothing after a stop.
    std::string flush();

private:
    // Knuth-Morris-Pratt: one table and one state a stop string, so hostile stop strings cost linear time as
    // well.
    struct Pattern {
        std::string text;
        std::vector<std::uint32_t> fallback;  // by prefix length: its longest border
        std::size_t matched = 0;              // bytes of `text` that the text so far ends with

        void advance(char byte);
    };

    std::vector<Pattern> patterns_;
    std::string held_;
    std::string matched_;
    bool stopped_ = false;
};

}  // namespace llmcore
