// F16 weights.
#include "kernels/cpu/linear_float_avx2.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = uint16_t;
    static LLMCORE_INLINE __m256 load(const Stored* p) { return _mm256_cvtph_ps(load_128(p)); }
};

double cost(const Shape* shape) { return linear_cost(shape, 2, 40); }

}  // namespace

extern constinit const Kernel linear_f16_avx2 = {
    .name = "linear_f16_avx2",
    .op = Op::linear,
    .weight_format = Format::F16,
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
