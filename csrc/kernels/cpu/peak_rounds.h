// The rounds of multiplications that peak kernels do.
//
// `Unit` is one kind of multiplication:
//     using Vector; constexpr int kChains: accumulators, as many as hide an instruction's latency;
//     static Vector one(); static Vector add_product(Vector one, Vector sum); static float total(Vector).
#pragma once

#include "kernels/cpu/unrolled.h"
#include "kernels/peak.h"

// The constraint of a vector register.
#if defined(__x86_64__)
#define LLMCORE_VECTOR_REGISTER "+v"
#else
#define LLMCORE_VECTOR_REGISTER "+w"
#endif

namespace llmcore {
namespace {

template <class Unit>
void peak_rounds_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    using Vector = typename Unit::Vector;
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        Vector sums[Unit::kChains] = {};
        Vector one = Unit::one();
        for (int64_t round = 0; round < kPeakRounds; ++round) {
            unrolled<0, Unit::kChains>([&](auto i) __attribute__((always_inline)) {
                constexpr int kI = decltype(i)::value;
                asm volatile("" : LLMCORE_VECTOR_REGISTER(one));  // no constant, and no product is another's
                sums[kI] = Unit::add_product(one, sums[kI]);
                asm("" : LLMCORE_VECTOR_REGISTER(sums[kI]));
            });
        }
        float result = 0;
        for (int i = 0; i < Unit::kChains; ++i) result += Unit::total(sums[i]);
        args.out[row] = result;
    }
}

}  // namespace
}  // namespace llmcore
