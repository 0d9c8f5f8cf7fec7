// How the states of a text's tokens become its one vector.
#pragma once

#include <cstdint>

namespace llmcore {

enum class Pooling : std::uint8_t {
    mean,
    cls,   // the first token's
    last,  // the last token's
};

constexpr const char* pooling_name(Pooling pooling) {
    switch (pooling) {
        case Pooling::cls:
            return "cls";
        case Pooling::last:
            return "last";
        case Pooling::mean:
            break;
    }
    return "mean";
}

}  // namespace llmcore
