#include "base/error.h"

namespace llmcore {

void fail(ErrorCode code, std::string_view component, std::string_view what) {
    std::string message;
    message.append("[").append(component).append("] ").append(what);
    throw Error(code, message);
}

void fail(ErrorCode code, std::string_view component, std::string_view what, std::string_view got,
          std::string_view expected) {
    std::string message;
    message.append("[").append(component).append("] ").append(what);
    message.append("; got ").append(got).append("; expected ").append(expected);
    throw Error(code, message);
}

}  // namespace llmcore
