// BF16 weights.
#include "kernels/cpu/linear_float_avx2.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = uint16_t;
    static LLMCORE_INLINE __m256 load(const Stored* p) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_128(p)), 16));
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 2, 40); }

}  // namespace

extern constinit const Kernel linear_bf16_avx2 = {
    .name = "linear_bf16_avx2",
    .op = Op::linear,
    .weight_format = Format::BF16,
    .weight_layout = Layout::gguf,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::avx2,
    .supports = float_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = linear_run<FloatDot<Cell>>,
};

}  // namespace llmcore
