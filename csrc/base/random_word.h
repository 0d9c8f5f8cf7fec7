// Numbers that nobody can guess.
#pragma once

#include <cstdint>
#include <random>

namespace llmcore {

// 64 bits of the system's own.
inline std::uint64_t random_word() {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace llmcore
