// Vectors of four from a grid of 256, a scale for 32.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockIQ3_XXS;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 6;  // sums of two products stay below 126 * 127 * 2
    const Block* block;
    float d;
    alignas(32) uint32_t signs[8];

    explicit LLMCORE_INLINE Weights(const Block* from) : Weights(from, load_256(from->scales)) {}

    LLMCORE_INLINE Weights(const Block* from, __m256i words)
        : Scales(scales_for_32(_mm256_or_si256(_mm256_srli_epi32(words, 27), _mm256_set1_epi32(1)))),
          block(from),
          d(0.25F * half_to_float(from->d)) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(signs), unpack_signs(words));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const auto eight = [this](int i) {
            const uint8_t* index = block->qs + 8 * J + 2 * i;
            return join_fours(kGridIQ3_XXS.values[index[0]], kGridIQ3_XXS.values[index[1]]);
        };
        return apply_signs(join_vectors(eight(0), eight(1), eight(2), eight(3)), signs[J], 1 << kBiasShift);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 98.0 / 256, 25); }

}  // namespace

extern constinit const Kernel linear_iq3_xxs_avx2 = {
    .name = "linear_iq3_xxs_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ3_XXS,
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
