// AVX-512 by lanes: loads and stores, constants, permutations, masks.
#include "isa_emulation/avx512.h"

#include "isa_emulation/avx512_vector.h"

namespace llmcore {

// Loads and stores.
template <class V>
inline V load_vector(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
__m512i _mm512_loadu_si512(const void* p) { return load_vector<__m512i>(p); }
__m512 _mm512_loadu_ps(const void* p) { return load_vector<__m512>(p); }
__m512i _mm512_load_si512(const void* p) {
    isa_emulation::require_aligned(p);
    return load_vector<__m512i>(p);
}
__m512 _mm512_load_ps(const void* p) {
    isa_emulation::require_aligned(p);
    return load_vector<__m512>(p);
}
void _mm512_storeu_si512(void* p, __m512i a) { std::memcpy(p, &a, sizeof a); }
void _mm512_storeu_ps(void* p, __m512 a) { std::memcpy(p, &a, sizeof a); }
void _mm512_store_si512(void* p, __m512i a) {
    isa_emulation::require_aligned(p);
    std::memcpy(p, &a, sizeof a);
}
void _mm512_store_ps(void* p, __m512 a) {
    isa_emulation::require_aligned(p);
    std::memcpy(p, &a, sizeof a);
}

// Lanes whose bit is 0 are neither read nor written.
template <class T, class V>
inline V load_masked(uint64_t mask, const void* p) {
    return isa_emulation::generate<T, V>([&](std::size_t i) {
        T value = 0;
        if ((mask >> i & 1) != 0) std::memcpy(&value, static_cast<const char*>(p) + i * sizeof(T), sizeof(T));
        return value;
    });
}
template <class T, class V>
inline void store_masked(void* p, uint64_t mask, V v) {
    const isa_emulation::Array<T> x(v);
    for (std::size_t i = 0; i < sizeof(V) / sizeof(T); ++i)
        if ((mask >> i & 1) != 0) std::memcpy(static_cast<char*>(p) + i * sizeof(T), &x[i], sizeof(T));
}
__m512 _mm512_maskz_loadu_ps(__mmask16 m, const void* p) { return load_masked<float, __m512>(m, p); }
__m512i _mm512_maskz_loadu_epi8(__mmask64 m, const void* p) { return load_masked<uint8_t, __m512i>(m, p); }
__m512i _mm512_maskz_loadu_epi16(__mmask32 m, const void* p) { return load_masked<uint16_t, __m512i>(m, p); }
__m256i _mm256_maskz_loadu_epi16(__mmask16 m, const void* p) { return load_masked<uint16_t, __m256i>(m, p); }
__m128 _mm_maskz_loadu_ps(__mmask8 m, const void* p) { return load_masked<float, __m128>(m, p); }
void _mm512_mask_storeu_ps(void* p, __mmask16 m, __m512 a) { store_masked<float>(p, m, a); }
void _mm512_mask_storeu_epi32(void* p, __mmask16 m, __m512i a) { store_masked<uint32_t>(p, m, a); }

// Constants.
template <class T, class V>
inline V repeat(T x) {
    return (V)(isa_emulation::Vector<T>{} + x);
}
__m512i _mm512_setzero_si512() { return __m512i{}; }
__m512 _mm512_setzero_ps() { return __m512{}; }
__m512i _mm512_set1_epi8(char x) { return repeat<char, __m512i>(x); }
__m512i _mm512_set1_epi16(short x) { return repeat<short, __m512i>(x); }
__m512i _mm512_set1_epi32(int x) { return repeat<int, __m512i>(x); }
__m512i _mm512_set1_epi64(long long x) { return repeat<long long, __m512i>(x); }
__m512 _mm512_set1_ps(float x) { return x - __m512{}; }  // so that -0 stays
__m512d _mm512_set1_pd(double x) { return x - __m512d{}; }
__m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l,
                          int m, int n, int o, int p) {
    return (__m512i)isa_emulation::Vector<int>{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
}
__m512i _mm512_set_epi32(int p, int o, int n, int m, int l, int k, int j, int i, int h, int g, int f, int e,
                         int d, int c, int b, int a) {
    return _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
}
__m512i _mm512_set_epi64(long long h, long long g, long long f, long long e, long long d, long long c,
                         long long b, long long a) {
    return __m512i{a, b, c, d, e, f, g, h};
}
__m512i _mm512_set4_epi64(long long d, long long c, long long b, long long a) {
    return __m512i{a, b, c, d, a, b, c, d};
}
__m512 _mm512_setr_ps(float a, float b, float c, float d, float e, float f, float g, float h, float i,
                      float j, float k, float l, float m, float n, float o, float p) {
    return __m512{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
}

// Casts. What the manual leaves undefined holds garbage.
template <class To, class From>
inline To widened(From a) {
    To to;
    std::memset(&to, 0xA5, sizeof to);
    std::memcpy(&to, &a, sizeof a);
    return to;
}
__m512i _mm512_castps_si512(__m512 a) { return (__m512i)a; }
__m512 _mm512_castsi512_ps(__m512i a) { return (__m512)a; }
__m256i _mm512_castsi512_si256(__m512i a) { return load_vector<__m256i>(&a); }
__m128i _mm512_castsi512_si128(__m512i a) { return load_vector<__m128i>(&a); }
__m256 _mm512_castps512_ps256(__m512 a) { return load_vector<__m256>(&a); }
__m512i _mm512_castsi256_si512(__m256i a) { return widened<__m512i>(a); }
__m512i _mm512_castsi128_si512(__m128i a) { return widened<__m512i>(a); }
__m512 _mm512_castps256_ps512(__m256 a) { return widened<__m512>(a); }
__m512 _mm512_castps128_ps512(__m128 a) { return widened<__m512>(a); }

// Parts of a vector.
template <class V, class Part>
inline V with_part(V v, Part part, int index) {
    std::memcpy(reinterpret_cast<char*>(&v) + static_cast<std::size_t>(index) * sizeof part, &part,
                sizeof part);
    return v;
}
template <class Part, class V>
inline Part part_of(V v, int index) {
    return load_vector<Part>(reinterpret_cast<const char*>(&v) +
                             static_cast<std::size_t>(index) * sizeof(Part));
}
__m512i _mm512_inserti32x4(__m512i a, __m128i b, int i) { return with_part(a, b, i); }
__m512i _mm512_inserti32x8(__m512i a, __m256i b, int i) { return with_part(a, b, i); }
__m512i _mm512_inserti64x4(__m512i a, __m256i b, int i) { return with_part(a, b, i); }
__m512 _mm512_insertf32x8(__m512 a, __m256 b, int i) { return with_part(a, b, i); }
__m256 _mm512_extractf32x8_ps(__m512 a, int i) { return part_of<__m256>(a, i); }
__m128i _mm512_extracti32x4_epi32(__m512i a, int i) { return part_of<__m128i>(a, i); }
__m256i _mm512_extracti64x4_epi64(__m512i a, int i) { return part_of<__m256i>(a, i); }
__m512i _mm512_zextsi256_si512(__m256i a) { return with_part(__m512i{}, a, 0); }
__m512i _mm512_broadcast_i64x4(__m256i a) { return with_part(with_part(__m512i{}, a, 0), a, 1); }
__m512i _mm512_broadcast_i32x4(__m128i a) { return _mm512_broadcast_i64x4(_mm256_set_m128i(a, a)); }

// Where a lane's mask bit is 0, the lane of `from`.
template <class T, class V>
inline V blend(uint64_t mask, V from, V a) {
    const isa_emulation::Array<T> x(from), y(a);
    return isa_emulation::generate<T, V>([&](std::size_t i) { return (mask >> i & 1) != 0 ? y[i] : x[i]; });
}
__m512 _mm512_mask_mov_ps(__m512 from, __mmask16 m, __m512 a) { return blend<uint32_t>(m, from, a); }
__m512 _mm512_maskz_mov_ps(__mmask16 m, __m512 a) { return blend<uint32_t>(m, __m512{}, a); }
__m512i _mm512_mask_or_epi32(__m512i from, __mmask16 m, __m512i a, __m512i b) {
    return blend<uint32_t>(m, from, _mm512_or_si512(a, b));
}
__m512i _mm512_mask_blend_epi16(__mmask32 m, __m512i a, __m512i b) { return blend<uint16_t>(m, a, b); }
__m512i _mm512_mask_broadcast_i32x4(__m512i from, __mmask16 m, __m128i a) {
    return blend<uint32_t>(m, from, _mm512_broadcast_i32x4(a));
}
__m512i _mm512_mask_add_epi8(__m512i from, __mmask64 m, __m512i a, __m512i b) {
    return blend<uint8_t>(m, from, (__m512i)(isa_emulation::as<uint8_t>(a) + isa_emulation::as<uint8_t>(b)));
}
__m512i _mm512_mask_add_epi16(__m512i from, __mmask32 m, __m512i a, __m512i b) {
    return blend<uint16_t>(m, from,
                           (__m512i)(isa_emulation::as<uint16_t>(a) + isa_emulation::as<uint16_t>(b)));
}
__m512i _mm512_mask_add_epi64(__m512i from, __mmask8 m, __m512i a, __m512i b) {
    return blend<uint64_t>(m, from,
                           (__m512i)(isa_emulation::as<uint64_t>(a) + isa_emulation::as<uint64_t>(b)));
}
__m512i _mm512_mask_sub_epi8(__m512i from, __mmask64 m, __m512i a, __m512i b) {
    return blend<uint8_t>(m, from, (__m512i)(isa_emulation::as<uint8_t>(a) - isa_emulation::as<uint8_t>(b)));
}
__mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate) {
    if (predicate != _CMP_GE_OQ && predicate != _CMP_UNORD_Q) std::abort();
    const isa_emulation::Array<float> x(a), y(b);
    unsigned mask = 0;
    for (std::size_t i = 0; i < 16; ++i) {
        const bool unordered = x[i] != x[i] || y[i] != y[i];
        const bool set = predicate == _CMP_UNORD_Q ? unordered : !unordered && x[i] >= y[i];
        mask |= static_cast<unsigned>(set) << i;
    }
    return static_cast<__mmask16>(mask);
}
__mmask16 _mm512_cmpgt_epi32_mask(__m512i a, __m512i b) {
    const isa_emulation::Array<int32_t> x(a), y(b);
    unsigned mask = 0;
    for (unsigned i = 0; i < 16; ++i) mask |= static_cast<unsigned>(x[i] > y[i]) << i;
    return static_cast<__mmask16>(mask);
}
__mmask16 _mm512_cmple_epi32_mask(__m512i a, __m512i b) {
    return static_cast<__mmask16>(~_mm512_cmpgt_epi32_mask(a, b));
}
__mmask32 _mm512_test_epi16_mask(__m512i a, __m512i b) {
    const isa_emulation::Array<uint16_t> x(a), y(b);
    __mmask32 mask = 0;
    for (std::size_t i = 0; i < 32; ++i) mask |= static_cast<__mmask32>((x[i] & y[i]) != 0) << i;
    return mask;
}

// Permutations over all lanes: those of an index that count.
template <class T>
inline __m512i permuted(__m512i indices, __m512i a) {
    const isa_emulation::Array<T> index(indices), x(a);
    return isa_emulation::generate<T, __m512i>([&](std::size_t i) { return x[index[i] % (64 / sizeof(T))]; });
}
template <class T>
inline __m512i permuted_two(__m512i a, __m512i indices, __m512i b) {
    constexpr std::size_t n = 64 / sizeof(T);
    const isa_emulation::Array<T> index(indices), x(a), y(b);
    return isa_emulation::generate<T, __m512i>([&](std::size_t i) {
        const std::size_t from = index[i] % (2 * n);
        return from < n ? x[from] : y[from - n];
    });
}
__m512i _mm512_permutexvar_epi8(__m512i i, __m512i a) { return permuted<uint8_t>(i, a); }
__m512i _mm512_permutexvar_epi16(__m512i i, __m512i a) { return permuted<uint16_t>(i, a); }
__m512i _mm512_permutexvar_epi32(__m512i i, __m512i a) { return permuted<uint32_t>(i, a); }
__m512 _mm512_permutexvar_ps(__m512i i, __m512 a) { return (__m512)permuted<uint32_t>(i, (__m512i)a); }
__m512i _mm512_permutex2var_epi16(__m512i a, __m512i i, __m512i b) { return permuted_two<uint16_t>(a, i, b); }
__m512i _mm512_permutex2var_epi64(__m512i a, __m512i i, __m512i b) { return permuted_two<uint64_t>(a, i, b); }
__m512i _mm512_maskz_permutexvar_epi8(__mmask64 m, __m512i i, __m512i a) {
    return blend<uint8_t>(m, __m512i{}, permuted<uint8_t>(i, a));
}

// Permutations inside each 16 bytes.
__m512i _mm512_shuffle_epi8(__m512i a, __m512i control) {
    const isa_emulation::Array<uint8_t> x(a), c(control);
    return isa_emulation::generate<uint8_t, __m512i>(
        [&](std::size_t i) { return (c[i] & 0x80) != 0 ? uint8_t{0} : x[i / 16 * 16 + c[i] % 16]; });
}
template <class T>
inline __m512i unpacked(__m512i a, __m512i b, std::size_t half) {
    constexpr std::size_t n = 16 / sizeof(T);
    const isa_emulation::Array<T> x(a), y(b);
    return isa_emulation::generate<T, __m512i>([&](std::size_t i) {
        const std::size_t from = i / n * n + half * n / 2 + i % n / 2;
        return i % 2 == 0 ? x[from] : y[from];
    });
}
__m512i _mm512_unpacklo_epi32(__m512i a, __m512i b) { return unpacked<uint32_t>(a, b, 0); }
__m512i _mm512_unpackhi_epi32(__m512i a, __m512i b) { return unpacked<uint32_t>(a, b, 1); }
__m512i _mm512_unpacklo_epi64(__m512i a, __m512i b) { return unpacked<uint64_t>(a, b, 0); }
__m512i _mm512_unpackhi_epi64(__m512i a, __m512i b) { return unpacked<uint64_t>(a, b, 1); }
__m512 _mm512_unpacklo_ps(__m512 a, __m512 b) {
    return (__m512)unpacked<uint32_t>((__m512i)a, (__m512i)b, 0);
}
__m512 _mm512_unpackhi_ps(__m512 a, __m512 b) {
    return (__m512)unpacked<uint32_t>((__m512i)a, (__m512i)b, 1);
}
__m512 _mm512_shuffle_ps(__m512 a, __m512 b, unsigned order) {
    const isa_emulation::Array<uint32_t> x(a), y(b);
    return isa_emulation::generate<uint32_t, __m512>([&](std::size_t i) {
        const std::size_t from = i / 4 * 4 + (order >> (i % 4 * 2) & 3);
        return i % 4 < 2 ? x[from] : y[from];
    });
}
__m512 _mm512_permute_ps(__m512 a, unsigned order) { return _mm512_shuffle_ps(a, a, order); }
// Permutations of groups of 16 bytes: two of a, then two of b.
__m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, unsigned order) {
    const isa_emulation::Array<__m128i> x(a), y(b);
    isa_emulation::Array<__m128i> out;
    for (std::size_t i = 0; i < 4; ++i) out[i] = (i < 2 ? x : y)[order >> (2 * i) & 3];
    return out.to<__m512i>();
}
__m512i _mm512_mask_shuffle_i32x4(__m512i from, __mmask16 m, __m512i a, __m512i b, unsigned order) {
    return blend<uint32_t>(m, from, _mm512_shuffle_i32x4(a, b, order));
}

// Eight bits from any bit on of the same 64, turned around.
template <class V>
inline V multishifted(V control, V a) {
    const isa_emulation::Array<uint8_t> c(control);
    const isa_emulation::Array<uint64_t> x(a);
    return isa_emulation::generate<uint8_t, V>([&](std::size_t i) {
        const unsigned n = c[i] % 64;
        return static_cast<uint8_t>(x[i / 8] >> n | (n == 0 ? 0 : x[i / 8] << (64 - n)));
    });
}
__m512i _mm512_multishift_epi64_epi8(__m512i control, __m512i a) { return multishifted(control, a); }
__m256i _mm256_multishift_epi64_epi8(__m256i control, __m256i a) { return multishifted(control, a); }

}  // namespace llmcore
