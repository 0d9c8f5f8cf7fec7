// Vectors of eight from a grid of 2048, a scale and a shift for 32.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

// A weight is an eighth of d * (2 * scale + 1) * (8 * q - 8 + 1), or - 1 where the highest bit of qh is set.
struct Weights : Scales {
    using Block = BlockIQ1_S;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 0;
    const Block* block;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) : block(from), d(0.125F * half_to_float(from->d)) {
        const char* qh = reinterpret_cast<const char*>(from) + offsetof(Block, qh);
        const __m128i words = load_128(qh);
        const __m128i one = _mm_set1_epi16(1);
        const __m128i odd = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(words, 11), _mm_set1_epi16(14)), one);
        const __m128i shift = _mm_slli_epi16(_mm_srli_epi16(words, 15), 1);
        const __m128i minimums = _mm_mullo_epi16(odd, _mm_add_epi16(shift, _mm_set1_epi16(7)));
        packed_scales = _mm256_broadcastsi128_si256(_mm_slli_epi16(odd, 3));
        bias =
            _mm256_set_m128i(_mm_unpackhi_epi16(minimums, minimums), _mm_unpacklo_epi16(minimums, minimums));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[J];
        const uint64_t* grid = kGridIQ1.values;
        return join_vectors(grid[i[0] | (high << 8 & 0x700)], grid[i[1] | (high << 5 & 0x700)],
                            grid[i[2] | (high << 2 & 0x700)], grid[i[3] | (high >> 1 & 0x700)]);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 50.0 / 256, 30); }

}  // namespace

extern constinit const Kernel linear_iq1_s_avx2 = {
    .name = "linear_iq1_s_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ1_S,
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
