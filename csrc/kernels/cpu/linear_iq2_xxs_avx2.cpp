// Vectors of eight from a grid of 256, a scale for 32.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockIQ2_XXS;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 6;
    const Block* block;
    float d;
    alignas(32) uint32_t signs[8];

    explicit LLMCORE_INLINE Weights(const Block* from) : Weights(from, sign_words(from->qs)) {}

    LLMCORE_INLINE Weights(const Block* from, __m256i words)
        : Scales(scales_for_32(_mm256_or_si256(_mm256_srli_epi32(words, 27), _mm256_set1_epi32(1)))),
          block(from),
          d(0.125F * half_to_float(from->d)) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(signs), unpack_signs(words));
    }

    // The upper four of every eight bytes.
    static LLMCORE_INLINE __m256i sign_words(const uint8_t* qs) {
        const __m256 a = _mm256_castsi256_ps(load_256(qs));
        const __m256 b = _mm256_castsi256_ps(load_256(qs + 32));
        return _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD)), 0xD8);
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const uint8_t* i = block->qs + 8 * J;
        const uint64_t* grid = kGridIQ2_XXS.values;
        return apply_signs(join_vectors(grid[i[0]], grid[i[1]], grid[i[2]], grid[i[3]]), signs[J],
                           1 << kBiasShift);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 66.0 / 256, 30); }

}  // namespace

extern constinit const Kernel linear_iq2_xxs_avx2 = {
    .name = "linear_iq2_xxs_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ2_XXS,
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
