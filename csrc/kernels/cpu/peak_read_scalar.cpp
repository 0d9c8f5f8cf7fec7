// Reading memory in order.
#include <string.h>

#include "kernels/peak.h"

namespace llmcore {
namespace {

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const char* data = args.data + row * kPeakReadBytes;
        int32_t sum = 0;
        for (int64_t at = 0; at < kPeakReadBytes; at += 4) {
            int32_t word;
            memcpy(&word, data + at, 4);
            sum += word;
        }
        args.out[row] = static_cast<float>(sum);
    }
}

}  // namespace

extern constinit const Kernel peak_read_scalar = {
    .name = "peak_read_scalar",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
