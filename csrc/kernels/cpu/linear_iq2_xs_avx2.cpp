// Vectors of eight from a grid of 512, a scale for 16.
#include "kernels/cpu/grid_blocks_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockIQ2_XS;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 6;
    const Block* block;
    float d;
    alignas(32) uint32_t signs[8];

    explicit LLMCORE_INLINE Weights(const Block* from)
        : Scales(scales_for_16(load_u64(from->scales))), block(from), d(0.125F * half_to_float(from->d)) {
        const char* words = reinterpret_cast<const char*>(from) + offsetof(Block, qs);
        const __m256i a = _mm256_srli_epi16(load_256(words), 9);
        const __m256i b = _mm256_srli_epi16(load_256(words + 32), 9);
        const __m256i seven = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
        _mm256_store_si256(reinterpret_cast<__m256i*>(signs), add_eighth_sign(seven));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const auto vector = [this](int i) { return kGridIQ2_XS.values[block->qs[4 * J + i] & 0x1FF]; };
        return apply_signs(join_vectors(vector(0), vector(1), vector(2), vector(3)), signs[J],
                           1 << kBiasShift);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 74.0 / 256, 30); }

}  // namespace

extern constinit const Kernel linear_iq2_xs_avx2 = {
    .name = "linear_iq2_xs_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ2_XS,
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
