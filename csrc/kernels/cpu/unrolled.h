// Loops unrolled by the front end, so that arrays of vectors indexed in them become registers.
#pragma once

#define LLMCORE_INLINE inline __attribute__((always_inline))
#define LLMCORE_NOINLINE __attribute__((noinline))

namespace llmcore {
namespace {

template <int J>
struct Index {
    static constexpr int value = J;
};

// f(Index<Begin>{}), ..., f(Index<End - 1>{}).
template <int Begin, int End, class F>
LLMCORE_INLINE void unrolled(F f) {
    if constexpr (Begin < End) {
        f(Index<Begin>{});
        unrolled<Begin + 1, End>(f);
    }
}

}  // namespace
}  // namespace llmcore
