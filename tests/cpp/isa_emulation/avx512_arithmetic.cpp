// AVX-512 by lanes: arithmetic, logic, shifts, conversions.
#include "isa_emulation/avx512.h"

#include "isa_emulation/avx512_vector.h"

#include <cmath>
#include <limits>

namespace llmcore {

// One line an operation on all lanes: its lanes' type, and what becomes of x and y.
#define LLMCORE_BINARY(name, V, T, expression)  \
    V name(V a, V b) {                          \
        const auto x = isa_emulation::as<T>(a); \
        const auto y = isa_emulation::as<T>(b); \
        return (V)(expression);                 \
    }

LLMCORE_BINARY(_mm512_add_epi8, __m512i, uint8_t, x + y)
LLMCORE_BINARY(_mm512_add_epi16, __m512i, uint16_t, x + y)
LLMCORE_BINARY(_mm512_add_epi32, __m512i, uint32_t, x + y)
LLMCORE_BINARY(_mm512_sub_epi32, __m512i, uint32_t, x - y)
LLMCORE_BINARY(_mm512_mullo_epi32, __m512i, uint32_t, x* y)
LLMCORE_BINARY(_mm512_subs_epu8, __m512i, uint8_t, x > y ? x - y : x - x)
LLMCORE_BINARY(_mm512_max_epi32, __m512i, int32_t, x > y ? x : y)
LLMCORE_BINARY(_mm512_max_epu32, __m512i, uint32_t, x > y ? x : y)
LLMCORE_BINARY(_mm512_and_si512, __m512i, uint64_t, x& y)
LLMCORE_BINARY(_mm512_or_si512, __m512i, uint64_t, x | y)
LLMCORE_BINARY(_mm512_xor_si512, __m512i, uint64_t, x ^ y)
LLMCORE_BINARY(_mm512_add_ps, __m512, float, x + y)
LLMCORE_BINARY(_mm512_sub_ps, __m512, float, x - y)
LLMCORE_BINARY(_mm512_mul_ps, __m512, float, x* y)
LLMCORE_BINARY(_mm512_div_ps, __m512, float, x / y)
LLMCORE_BINARY(_mm512_mul_pd, __m512d, double, x* y)
// The second where one is not a number.
LLMCORE_BINARY(_mm512_max_ps, __m512, float, x > y ? x : y)
LLMCORE_BINARY(_mm512_min_ps, __m512, float, x < y ? x : y)
LLMCORE_BINARY(_mm512_and_ps, __m512, uint32_t, x& y)
LLMCORE_BINARY(_mm512_andnot_ps, __m512, uint32_t, ~x& y)
LLMCORE_BINARY(_mm512_or_ps, __m512, uint32_t, x | y)
// Counts of 32 and more leave nothing.
LLMCORE_BINARY(_mm512_sllv_epi32, __m512i, uint32_t, y < 32 ? x << (y & 31) : x - x)
LLMCORE_BINARY(_mm512_srlv_epi32, __m512i, uint32_t, y < 32 ? x >> (y & 31) : x - x)
LLMCORE_BINARY(_mm512_rolv_epi32, __m512i, uint32_t, (x << (y & 31)) | (x >> ((32 - y) & 31)))

#undef LLMCORE_BINARY

__m512i _mm512_slli_epi16(__m512i a, unsigned n) { return (__m512i)(isa_emulation::as<uint16_t>(a) << n); }
__m512i _mm512_srli_epi16(__m512i a, unsigned n) { return (__m512i)(isa_emulation::as<uint16_t>(a) >> n); }
__m512i _mm512_slli_epi32(__m512i a, unsigned n) { return (__m512i)(isa_emulation::as<uint32_t>(a) << n); }
__m512i _mm512_srli_epi32(__m512i a, unsigned n) { return (__m512i)(isa_emulation::as<uint32_t>(a) >> n); }
__m512i _mm512_srli_epi64(__m512i a, unsigned n) { return (__m512i)(isa_emulation::as<uint64_t>(a) >> n); }

__m512i _mm512_avg_epu8(__m512i a, __m512i b) {
    const auto x = isa_emulation::as<uint8_t>(a);
    const auto y = isa_emulation::as<uint8_t>(b);
    return (__m512i)((x | y) - ((x ^ y) >> 1));  // (x + y + 1) / 2 without the ninth bit
}

// Bit 4 * a + 2 * b + c of `table`, bit by bit.
__m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
    const auto x = isa_emulation::as<uint64_t>(a);
    const auto y = isa_emulation::as<uint64_t>(b);
    const auto z = isa_emulation::as<uint64_t>(c);
    auto result = x ^ x;
    for (int i = 0; i < 8; ++i)
        if ((table >> i & 1) != 0)
            result |= ((i & 4) != 0 ? x : ~x) & ((i & 2) != 0 ? y : ~y) & ((i & 1) != 0 ? z : ~z);
    return (__m512i)result;
}

// The halves of a vector, for what AVX2 has.
template <class Half, class V>
struct Halves {
    Half of[2];

    explicit Halves(V v) { std::memcpy(of, &v, sizeof v); }
    Halves(Half low, Half high) : of{low, high} {}
    V joined() const {
        V v;
        std::memcpy(&v, of, sizeof v);
        return v;
    }
};
using HalfFloats = Halves<__m256, __m512>;
using HalfDoubles = Halves<__m256d, __m512d>;

#define LLMCORE_BY_HALVES(name, V, H, half_name)                                                       \
    V name(V a, V b, V c) {                                                                            \
        const H x(a), y(b), z(c);                                                                      \
        return H(half_name(x.of[0], y.of[0], z.of[0]), half_name(x.of[1], y.of[1], z.of[1])).joined(); \
    }
LLMCORE_BY_HALVES(_mm512_fmadd_ps, __m512, HalfFloats, _mm256_fmadd_ps)
LLMCORE_BY_HALVES(_mm512_fmsub_ps, __m512, HalfFloats, _mm256_fmsub_ps)
LLMCORE_BY_HALVES(_mm512_fnmadd_ps, __m512, HalfFloats, _mm256_fnmadd_ps)
LLMCORE_BY_HALVES(_mm512_fmaddsub_ps, __m512, HalfFloats, _mm256_fmaddsub_ps)
LLMCORE_BY_HALVES(_mm512_fnmadd_pd, __m512d, HalfDoubles, _mm256_fnmadd_pd)
#undef LLMCORE_BY_HALVES

// To integers, ties to even; no fraction bits kept.
inline void require_nearest(int how) {
    isa_emulation::require((how & ~_MM_FROUND_NO_EXC) == 0,
                           "only rounding to the nearest integer is emulated");
}
__m512 _mm512_roundscale_ps(__m512 a, int how) {
    require_nearest(how);
    const HalfFloats x(a);
    return HalfFloats(_mm256_round_ps(x.of[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                      _mm256_round_ps(x.of[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
        .joined();
}
__m512d _mm512_roundscale_pd(__m512d a, int how) {
    require_nearest(how);
    const HalfDoubles x(a);
    return HalfDoubles(_mm256_round_pd(x.of[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                       _mm256_round_pd(x.of[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
        .joined();
}

// a * 2^floor(b)
__m512 _mm512_scalef_ps(__m512 a, __m512 b) {
    const isa_emulation::Array<float> x(a), y(b);
    return isa_emulation::generate<float, __m512>([&](std::size_t i) {
        const float n = std::floor(y[i]);
        if (n != n) return n;
        return std::ldexp(x[i], static_cast<int>(n < -1000 ? -1000 : n > 1000 ? 1000 : n));
    });
}

// Conversions.
__m512 _mm512_cvtph_ps(__m256i a) {
    return HalfFloats(_mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                      _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)))
        .joined();
}
__m256i _mm512_cvtps_ph(__m512 a, int how) {
    require_nearest(how);
    const HalfFloats x(a);
    return _mm256_set_m128i(_mm256_cvtps_ph(x.of[1], _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(x.of[0], _MM_FROUND_TO_NEAREST_INT));
}
__m512 _mm512_cvtepi32_ps(__m512i a) {
    return (__m512) __builtin_convertvector(isa_emulation::as<int32_t>(a), isa_emulation::Vector<float>);
}
__m512i _mm512_cvtps_epi32(__m512 a) {
    const HalfFloats x(a);
    return Halves<__m256i, __m512i>(_mm256_cvtps_epi32(x.of[0]), _mm256_cvtps_epi32(x.of[1])).joined();
}
__m512d _mm512_cvtps_pd(__m256 a) {
    return HalfDoubles(_mm256_cvtps_pd(_mm256_castps256_ps128(a)),
                       _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)))
        .joined();
}
__m256 _mm512_cvtpd_ps(__m512d a) {
    const HalfDoubles x(a);
    return _mm256_set_m128(_mm256_cvtpd_ps(x.of[1]), _mm256_cvtpd_ps(x.of[0]));
}
__m256i _mm512_cvtpd_epi32(__m512d a) {
    const HalfDoubles x(a);
    return _mm256_set_m128i(_mm256_cvtpd_epi32(x.of[1]), _mm256_cvtpd_epi32(x.of[0]));
}

#define LLMCORE_CONVERSION(name, From, FromLane, To, ToLane)           \
    To name(From a) {                                                  \
        const isa_emulation::Array<FromLane> x(a);                     \
        return isa_emulation::generate<ToLane, To>(                    \
            [&](std::size_t i) { return static_cast<ToLane>(x[i]); }); \
    }
LLMCORE_CONVERSION(_mm512_cvtepu8_epi16, __m256i, uint8_t, __m512i, uint16_t)
LLMCORE_CONVERSION(_mm512_cvtepu8_epi32, __m128i, uint8_t, __m512i, uint32_t)
LLMCORE_CONVERSION(_mm512_cvtepi8_epi32, __m128i, int8_t, __m512i, int32_t)
LLMCORE_CONVERSION(_mm512_cvtepu16_epi32, __m256i, uint16_t, __m512i, uint32_t)
LLMCORE_CONVERSION(_mm512_cvtepi16_epi32, __m256i, int16_t, __m512i, int32_t)
LLMCORE_CONVERSION(_mm512_cvtepi16_epi8, __m512i, uint16_t, __m256i, uint8_t)
LLMCORE_CONVERSION(_mm512_cvtepi32_epi8, __m512i, uint32_t, __m128i, uint8_t)
LLMCORE_CONVERSION(_mm512_cvtepi32_epi16, __m512i, uint32_t, __m256i, uint16_t)
LLMCORE_CONVERSION(_mm512_cvtepi64_epi32, __m512i, uint64_t, __m256i, uint32_t)
LLMCORE_CONVERSION(_mm256_cvtepi16_epi8, __m256i, uint16_t, __m128i, uint8_t)
#undef LLMCORE_CONVERSION

// A float as the nearest bf16, ties to even; a subnormal becomes zero, a NaN quiet.
inline uint16_t nearest_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t exponent = bits & 0x7F800000;
    if (exponent == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
    if (exponent == 0x7F800000 && (bits & 0x007FFFFF) != 0) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
__m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
    const isa_emulation::Array<float> x(low), y(high);
    return isa_emulation::generate<uint16_t, __m512bh>(
        [&](std::size_t i) { return nearest_bf16(i < 16 ? x[i] : y[i - 16]); });
}

// Products of bytes and of words.
__m512i _mm512_maddubs_epi16(__m512i a, __m512i b) {
    const Halves<__m256i, __m512i> x(a), y(b);
    return Halves<__m256i, __m512i>(_mm256_maddubs_epi16(x.of[0], y.of[0]),
                                    _mm256_maddubs_epi16(x.of[1], y.of[1]))
        .joined();
}
__m256i _mm256_dpbusd_epi32(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
    const __m256i low = _mm256_set1_epi16(0x00FF);
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(unsigned_bytes, low),
                                           _mm256_srai_epi16(_mm256_slli_epi16(signed_bytes, 8), 8));
    const __m256i odd =
        _mm256_madd_epi16(_mm256_srli_epi16(unsigned_bytes, 8), _mm256_srai_epi16(signed_bytes, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
__m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b) {
    const Halves<__m256i, __m512i> s(sum), x(a), y(b);
    return Halves<__m256i, __m512i>(_mm256_dpbusd_epi32(s.of[0], x.of[0], y.of[0]),
                                    _mm256_dpbusd_epi32(s.of[1], x.of[1], y.of[1]))
        .joined();
}
__m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b) {
    const Halves<__m256i, __m512i> s(sum), x(a), y(b);
    return Halves<__m256i, __m512i>(_mm256_add_epi32(s.of[0], _mm256_madd_epi16(x.of[0], y.of[0])),
                                    _mm256_add_epi32(s.of[1], _mm256_madd_epi16(x.of[1], y.of[1])))
        .joined();
}

__m256i _mm256_srlv_epi16(__m256i a, __m256i counts) {
    const isa_emulation::Array<uint16_t> x(a), n(counts);
    return isa_emulation::generate<uint16_t, __m256i>(
        [&](std::size_t i) { return n[i] < 16 ? x[i] >> n[i] : 0; });
}

// Sums and maxima over all lanes: halves, then halves of those.
template <class T, class V, class F>
inline T reduce_lanes(V v, F f) {
    isa_emulation::Array<T> x(v);
    for (std::size_t n = isa_emulation::kLanes<T> / 2; n > 0; n /= 2)
        for (std::size_t i = 0; i < n; ++i) x[i] = f(x[i], x[i + n]);
    return x[0];
}
float _mm512_reduce_add_ps(__m512 a) {
    return reduce_lanes<float>(a, [](float x, float y) { return x + y; });
}
float _mm512_reduce_max_ps(__m512 a) {
    return reduce_lanes<float>(a, [](float x, float y) { return x > y ? x : y; });
}
int _mm512_reduce_add_epi32(__m512i a) {
    return static_cast<int>(reduce_lanes<uint32_t>(a, [](uint32_t x, uint32_t y) { return x + y; }));
}
unsigned _mm512_reduce_max_epu32(__m512i a) {
    return reduce_lanes<uint32_t>(a, [](uint32_t x, uint32_t y) { return x > y ? x : y; });
}

}  // namespace llmcore
