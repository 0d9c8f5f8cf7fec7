// Vectors of four from a grid of 512, a scale for 32.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockIQ3_S;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 4;
    const Block* block;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from)
        : Scales(scales_for_32(unpack_scales(load_u32(from->scales)))),
          block(from),
          d(half_to_float(from->d)) {}

    // Eight nibbles, the low ones first, as 2 * nibble + 1.
    static LLMCORE_INLINE __m256i unpack_scales(uint32_t nibbles) {
        const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        const __m256i words = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(nibbles)), shifts);
        const __m256i twice = _mm256_slli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(15)), 1);
        return _mm256_or_si256(twice, _mm256_set1_epi32(1));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const uint32_t high = static_cast<uint32_t>(block->qh[J]) << 8;
        const auto four = [this, high](int i) {
            return kGridIQ3_S.values[block->qs[8 * J + i] | (high >> i & 0x100)];
        };
        return apply_signs(join_vectors(join_fours(four(0), four(1)), join_fours(four(2), four(3)),
                                        join_fours(four(4), four(5)), join_fours(four(6), four(7))),
                           load_u32(block->signs + 4 * J), 1 << kBiasShift);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 110.0 / 256, 25); }

}  // namespace

extern constinit const Kernel linear_iq3_s_avx2 = {
    .name = "linear_iq3_s_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ3_S,
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
