// Ternary weights, five in a byte, one scale.
#include "kernels/cpu/linear_expanded_avx2.h"

namespace llmcore {
namespace {

struct Weights : Scales {
    using Block = BlockTQ1_0;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 0;
    __m256i first;   // digits of weights 0 to 159
    __m256i second;  // of 160 to 239: 16 bytes, and the same times 3
    __m128i last;    // of 240 to 255: 4 bytes times 1, 3, 9 and 27
    float d;

    explicit LLMCORE_INLINE Weights(const Block* block)
        : Scales{_mm256_set1_epi16(1), _mm256_set1_epi16(1)},
          first(load_256(block->qs)),
          d(half_to_float(block->d)) {
        const __m128i low = load_128(block->qs + 32);
        second = _mm256_set_m128i(_mm_add_epi8(_mm_add_epi8(low, low), low), low);
        const __m256i powers = _mm256_setr_epi16(1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27);
        const __m128i four = _mm_set1_epi32(static_cast<int>(load_u32(block->qh)));
        const __m256i products =
            _mm256_and_si256(_mm256_mullo_epi16(_mm256_cvtepu8_epi16(four), powers), _mm256_set1_epi16(255));
        last = _mm_packus_epi16(_mm256_castsi256_si128(products), _mm256_extracti128_si256(products, 1));
    }

    // x times 3^Power, modulo 256.
    template <int Power>
    static LLMCORE_INLINE __m256i shift_digits(__m256i x) {
        if constexpr (Power == 0) {
            return x;
        } else {
            const __m256i y = shift_digits<Power - 1>(x);
            return _mm256_add_epi8(_mm256_add_epi8(y, y), y);
        }
    }

    // 3 * x / 256, from averages that round up: (x + x / 2) / 2 without a carry out of the byte.
    static LLMCORE_INLINE __m256i leading_digit(__m256i x) {
        const __m256i less = _mm256_subs_epu8(x, _mm256_set1_epi8(1));
        const __m256i sum = _mm256_avg_epu8(less, _mm256_avg_epu8(less, _mm256_setzero_si256()));
        return _mm256_and_si256(_mm256_srli_epi16(sum, 6), _mm256_set1_epi8(3));
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        if constexpr (J < 5) {
            return leading_digit(shift_digits<J>(first));
        } else {
            const __m256i digits = shift_digits<2 * (J - 5)>(second);
            return leading_digit(J < 7 ? digits : _mm256_inserti128_si256(digits, last, 1));
        }
    }

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return _mm256_set1_epi16(1);
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 54.0 / 256, 60); }

}  // namespace

extern constinit const Kernel linear_tq1_0_avx2 = {
    .name = "linear_tq1_0_avx2",
    .op = Op::linear,
    .weight_format = Format::TQ1_0,
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
