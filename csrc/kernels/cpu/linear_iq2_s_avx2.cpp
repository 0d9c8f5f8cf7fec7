// Vectors of eight from a grid of 1024, a scale for 16.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockIQ2_S;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 6;
    const Block* block;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from)
        : Scales(scales_for_16(load_u64(from->scales))),
          block(from),

          d(0.125F * half_to_float(from->d)) {}

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[J];
        const uint64_t* grid = kGridIQ2_S.values;
        return apply_signs(join_vectors(grid[i[0] | (high << 8 & 0x300)], grid[i[1] | (high << 6 & 0x300)],
                                        grid[i[2] | (high << 4 & 0x300)], grid[i[3] | (high << 2 & 0x300)]),
                           load_u32(block->signs + 4 * J), 1 << kBiasShift);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 82.0 / 256, 30); }

}  // namespace

extern constinit const Kernel linear_iq2_s_avx2 = {
    .name = "linear_iq2_s_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ2_S,
    .weight_layout = Layout::gguf,
    .act_layout = Layout::q8_32,
    .out_layout = Layout::f32,
    .isa = Isa::avx2,
    .supports = q8x256_supports,
    .cost = cost,
    .workspace_bytes = expanded_bytes,
    .run = run_expanded<Weights>,
};

}  // namespace llmcore
