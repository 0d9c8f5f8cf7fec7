// Vectors of eight from a grid of 2048, shifted each, a scale for 16.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

// A weight is an eighth of d * (2 * scale + 1) * (q - 9), where q is 8 * vector + 2, or + 0 if shifted down.
struct Weights : Scales {
    using Block = BlockIQ1_M;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 0;
    const Block* block;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) : block(from) {
        const uint64_t words = load_u64(reinterpret_cast<const char*>(from) + offsetof(Block, scales));
        const __m128i odd = unpack_scales(words);
        packed_scales = scales_of_16(odd);
        const __m256i wide = _mm256_cvtepi8_epi16(odd);
        bias = _mm256_add_epi16(_mm256_slli_epi16(wide, 3), wide);
        const uint64_t tops = words & 0xF000F000F000F000;
        d = 0.125F * half_to_float(static_cast<uint16_t>(tops >> 12 | tops >> 24 | tops >> 36 | tops >> 48));
    }

    // 2 * scale + 1 of three bits four times in each of four words.
    static LLMCORE_INLINE __m128i unpack_scales(uint64_t words) {
        const __m128i x = _mm_cvtsi64_si128(static_cast<int64_t>(words));
        const __m128i a = _mm_unpacklo_epi16(_mm_slli_epi16(x, 1), _mm_srli_epi16(x, 2));
        const __m128i b = _mm_unpacklo_epi16(_mm_srli_epi16(x, 5), _mm_srli_epi16(x, 8));
        const __m128i low = _mm_unpacklo_epi32(a, b);
        const __m128i high = _mm_unpackhi_epi32(a, b);
        const __m128i twice = _mm_set1_epi16(14);
        const __m128i bytes = _mm_packus_epi16(_mm_and_si128(low, twice), _mm_and_si128(high, twice));
        return _mm_or_si128(bytes, _mm_set1_epi8(1));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[2 * J] | static_cast<uint32_t>(block->qh[2 * J + 1]) << 8;
        const uint64_t* grid = kGridIQ1.values;
        const __m256i vectors =
            join_vectors(grid[i[0] | (high << 8 & 0x700)], grid[i[1] | (high << 4 & 0x700)],
                         grid[i[2] | (high & 0x700)], grid[i[3] | (high >> 4 & 0x700)]);
        const __m256i down = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(high)),
                                              _mm256_setr_epi64x(0x0008, 0x0080, 0x0800, 0x8000));
        const __m256i up = _mm256_cmpeq_epi64(down, _mm256_setzero_si256());
        return _mm256_add_epi8(_mm256_slli_epi16(vectors, 3), _mm256_and_si256(up, _mm256_set1_epi8(2)));
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 56.0 / 256, 30); }

}  // namespace

extern constinit const Kernel linear_iq1_m_avx2 = {
    .name = "linear_iq1_m_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ1_M,
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
