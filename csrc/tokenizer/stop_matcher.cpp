#include "tokenizer/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "tokenizer/utf8_assembler.h"

namespace llmcore {
namespace {

bool is_utf8(const std::string& text) {
    Utf8Assembler assembler;
    return assembler.push(text) + assembler.flush() == text;
}

// fallback[n]: the length of the longest proper prefix of text[0, n) that is also its suffix.
std::vector<std::uint32_t> border_lengths(const std::string& text) {
    std::vector<std::uint32_t> fallback(text.size() + 1, 0);
    std::uint32_t border = 0;
    for (std::size_t n = 1; n < text.size(); ++n) {
        while (border > 0 && text[border] != text[n]) border = fallback[border];
        if (text[border] == text[n]) ++border;
        fallback[n + 1] = border;
    }
    return fallback;
}

}  // namespace

void StopMatcher::Pattern::advance(char byte) {
    while (matched > 0 && text[matched] != byte) matched = fallback[matched];
    if (text[matched] == byte) ++matched;
}

StopMatcher::StopMatcher(std::vector<std::string> stops) {
    for (std::string& stop : stops) {
        if (stop.empty()) continue;
        if (!is_utf8(stop)) fail(ErrorCode::invalid_argument, "stop_matcher", "a stop string is not UTF-8");
        std::vector<std::uint32_t> fallback = border_lengths(stop);
        patterns_.push_back({std::move(stop), std::move(fallback)});
    }
}

std::string StopMatcher::push(std::string_view text) {
    if (stopped_) return {};
    if (patterns_.empty()) return std::string(text);
    for (const char byte : text) {
        held_.push_back(byte);
        const Pattern* complete = nullptr;
        for (Pattern& pattern : patterns_) {
            pattern.advance(byte);
            if (pattern.matched < pattern.text.size()) continue;
            if (complete == nullptr || pattern.text.size() > complete->text.size()) complete = &pattern;
        }
        if (complete != nullptr) {
            stopped_ = true;
            matched_ = complete->text;
            held_.resize(held_.size() - matched_.size());
            return std::exchange(held_, {});
        }
    }
    std::size_t keep = 0;
    for (const Pattern& pattern : patterns_) keep = std::max(keep, pattern.matched);
    std::string released = held_.substr(0, held_.size() - keep);
    held_.erase(0, released.size());
    return released;
}

std::string StopMatcher::flush() { return std::exchange(held_, {}); }

}  // namespace llmcore
