// Reading memory with NEON, in order, with prefetches a page ahead.
#include <arm_neon.h>

#include "kernels/peak.h"

namespace llmcore {
namespace {

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const char* data = args.data + row * kPeakReadBytes;
        int32x4_t sums[4] = {};
        for (int64_t at = 0; at < kPeakReadBytes; at += 4 * 16) {
            __builtin_prefetch(data + at + 4096);
            for (int i = 0; i < 4; ++i) {
                const int8x16_t bytes = vld1q_s8(reinterpret_cast<const int8_t*>(data + at + i * 16));
                sums[i] = vaddq_s32(sums[i], vreinterpretq_s32_s8(bytes));
            }
        }
        args.out[row] = static_cast<float>(
            vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3]))));
    }
}

}  // namespace

extern constinit const Kernel peak_read_neon = {
    .name = "peak_read_neon",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
