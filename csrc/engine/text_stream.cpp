#include "engine/text_stream.h"

#include <string_view>
#include <utility>

namespace llmcore {

namespace {

// Models may score more tokens than the vocabulary names: padding, which stands for no text.
std::string_view text_of(const Vocabulary& vocabulary, std::int32_t token) {
    return token < vocabulary.size() ? vocabulary.text_bytes(token) : std::string_view();
}

}  // namespace

TextStream::TextStream(const Vocabulary& vocabulary, std::vector<std::string> stops, bool begins_text)
    : vocabulary_(vocabulary),
      matcher_(std::move(stops)),
      strip_space_(begins_text && vocabulary.strips_first_space()) {}

std::string TextStream::push(std::int32_t token, bool may_stop) {
    std::string_view bytes = text_of(vocabulary_, token);
    if (strip_space_ && !bytes.empty()) {
        strip_space_ = false;
        if (bytes.front() == ' ') bytes.remove_prefix(1);
    }
    std::string text = assembler_.push(bytes);
    return may_stop ? matcher_.push(text) : text;
}

std::string TextStream::flush() { return matcher_.flush(); }

bool begins_text(const Vocabulary& vocabulary, const std::vector<std::int32_t>& prompt) {
    return prompt.empty() || text_of(vocabulary, prompt.back()).empty();
}

}  // namespace llmcore
