// Turns the tokens of one sequence into text that can be sent: whole characters, ended at stop strings.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/stop_matcher.h"
#include "tokenizer/utf8_assembler.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

class TextStream {
public:
    // begins_text: nothing readable comes before the first token, so the space an SPM vocabulary writes there
    // goes. The vocabulary must outlive the stream.
    TextStream(const Vocabulary& vocabulary, std::vector<std::string> stops, bool begins_text);

    // The text that can be sent now. may_stop: stop strings count; without it they are passed over.
    std::string push(std::int32_t token, bool may_stop);
    bool stopped() const { return matcher_.stopped(); }
    // At the end: what was held back, without a character whose last bytes never came.
    std::string flush();

private:
    const Vocabulary& vocabulary_;
    Utf8Assembler assembler_;
    StopMatcher matcher_;
    bool strip_space_;
};

// Whether generation after `prompt` starts a text rather than continuing one: its last token adds no text.
bool begins_text(const Vocabulary& vocabulary, const std::vector<std::int32_t>& prompt);

}  // namespace llmcore
