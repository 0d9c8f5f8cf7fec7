// The one exception type of the core: a code for programs and a message for people.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace llmcore {

enum class ErrorCode {
    invalid_argument,
    gguf,
    model,
    context_length,
    queue_full,
    deadline,
    grammar,
    internal
};

class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

// Throws Error with the message "[component] what".
[[noreturn]] void fail(ErrorCode code, std::string_view component, std::string_view what);

// Throws Error with the message "[component] what; got X; expected Y".
[[noreturn]] void fail(ErrorCode code, std::string_view component, std::string_view what,
                       std::string_view got, std::string_view expected);

}  // namespace llmcore
