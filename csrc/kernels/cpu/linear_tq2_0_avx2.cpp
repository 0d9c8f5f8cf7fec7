// Ternary weights of two bits, one scale.
#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockTQ2_0;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 0;
    const Block* block;
    __m256i bias;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from)
        : block(from), bias(_mm256_set1_epi16(1)), d(half_to_float(from->d)) {}

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const __m256i bytes = load_256(block->qs + J / 4 * 32);
        return _mm256_and_si256(move_bits<J % 4 * 2, 0>(bytes), _mm256_set1_epi8(3));
    }

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return _mm256_set1_epi16(1);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 66.0 / 256, 70); }

}  // namespace

extern constinit const Kernel linear_tq2_0_avx2 = {
    .name = "linear_tq2_0_avx2",
    .op = Op::linear,
    .weight_format = Format::TQ2_0,
    .weight_layout = Layout::gguf,
    .act_layout = Layout::q8_32,
    .out_layout = Layout::f32,
    .isa = Isa::avx2,
    .supports = q8x256_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = linear_run<Q8x256Dot<Weights>>,
};

}  // namespace llmcore
