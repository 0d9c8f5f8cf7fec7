// What kernels use of AVX-512, as functions on any x86 with AVX2. Defined out of line: a kernel that calls
// them compiles fast.
#pragma once

#include <immintrin.h>

// Constants in the arguments make some of them macros.
#undef _mm256_dpbusd_epi32
#undef _mm512_cmp_ps_mask
#undef _mm512_cvtps_ph
#undef _mm512_extractf32x8_ps
#undef _mm512_extracti32x4_epi32
#undef _mm512_extracti64x4_epi64
#undef _mm512_insertf32x8
#undef _mm512_inserti32x4
#undef _mm512_inserti32x8
#undef _mm512_inserti64x4
#undef _mm512_mask_blend_epi16
#undef _mm512_mask_shuffle_i32x4
#undef _mm512_permute_ps
#undef _mm512_roundscale_pd
#undef _mm512_roundscale_ps
#undef _mm512_setr_epi32
#undef _mm512_setr_ps
#undef _mm512_shuffle_i32x4
#undef _mm512_shuffle_ps
#undef _mm512_slli_epi16
#undef _mm512_slli_epi32
#undef _mm512_srli_epi16
#undef _mm512_srli_epi32
#undef _mm512_srli_epi64
#undef _mm512_ternarylogic_epi32

namespace llmcore {

// Arithmetic, logic, shifts, conversions.
__m512i _mm512_add_epi8(__m512i a, __m512i b);
__m512i _mm512_add_epi16(__m512i a, __m512i b);
__m512i _mm512_add_epi32(__m512i a, __m512i b);
__m512i _mm512_sub_epi32(__m512i a, __m512i b);
__m512i _mm512_mullo_epi32(__m512i a, __m512i b);
__m512i _mm512_subs_epu8(__m512i a, __m512i b);
__m512i _mm512_max_epi32(__m512i a, __m512i b);
__m512i _mm512_max_epu32(__m512i a, __m512i b);
__m512i _mm512_and_si512(__m512i a, __m512i b);
__m512i _mm512_or_si512(__m512i a, __m512i b);
__m512i _mm512_xor_si512(__m512i a, __m512i b);
__m512 _mm512_add_ps(__m512 a, __m512 b);
__m512 _mm512_sub_ps(__m512 a, __m512 b);
__m512 _mm512_mul_ps(__m512 a, __m512 b);
__m512 _mm512_div_ps(__m512 a, __m512 b);
__m512d _mm512_mul_pd(__m512d a, __m512d b);
__m512 _mm512_max_ps(__m512 a, __m512 b);
__m512 _mm512_min_ps(__m512 a, __m512 b);
__m512 _mm512_and_ps(__m512 a, __m512 b);
__m512 _mm512_andnot_ps(__m512 a, __m512 b);
__m512 _mm512_or_ps(__m512 a, __m512 b);
__m512i _mm512_sllv_epi32(__m512i a, __m512i b);
__m512i _mm512_srlv_epi32(__m512i a, __m512i b);
__m512i _mm512_rolv_epi32(__m512i a, __m512i b);
__m512i _mm512_slli_epi16(__m512i a, unsigned n);
__m512i _mm512_srli_epi16(__m512i a, unsigned n);
__m512i _mm512_slli_epi32(__m512i a, unsigned n);
__m512i _mm512_srli_epi32(__m512i a, unsigned n);
__m512i _mm512_srli_epi64(__m512i a, unsigned n);
__m512i _mm512_avg_epu8(__m512i a, __m512i b);
__m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table);
__m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c);
__m512 _mm512_fmsub_ps(__m512 a, __m512 b, __m512 c);
__m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c);
__m512 _mm512_fmaddsub_ps(__m512 a, __m512 b, __m512 c);
__m512d _mm512_fnmadd_pd(__m512d a, __m512d b, __m512d c);
__m512 _mm512_roundscale_ps(__m512 a, int how);
__m512d _mm512_roundscale_pd(__m512d a, int how);
__m512 _mm512_scalef_ps(__m512 a, __m512 b);
__m512 _mm512_cvtph_ps(__m256i a);
__m256i _mm512_cvtps_ph(__m512 a, int how);
__m512 _mm512_cvtepi32_ps(__m512i a);
__m512i _mm512_cvtps_epi32(__m512 a);
__m512d _mm512_cvtps_pd(__m256 a);
__m256 _mm512_cvtpd_ps(__m512d a);
__m256i _mm512_cvtpd_epi32(__m512d a);
__m512i _mm512_cvtepu8_epi16(__m256i a);
__m512i _mm512_cvtepu8_epi32(__m128i a);
__m512i _mm512_cvtepi8_epi32(__m128i a);
__m512i _mm512_cvtepu16_epi32(__m256i a);
__m512i _mm512_cvtepi16_epi32(__m256i a);
__m256i _mm512_cvtepi16_epi8(__m512i a);
__m128i _mm512_cvtepi32_epi8(__m512i a);
__m256i _mm512_cvtepi32_epi16(__m512i a);
__m256i _mm512_cvtepi64_epi32(__m512i a);
__m128i _mm256_cvtepi16_epi8(__m256i a);
__m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low);
__m512i _mm512_maddubs_epi16(__m512i a, __m512i b);
__m256i _mm256_dpbusd_epi32(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes);
__m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b);
__m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b);
__m256i _mm256_srlv_epi16(__m256i a, __m256i counts);
float _mm512_reduce_add_ps(__m512 a);
float _mm512_reduce_max_ps(__m512 a);
int _mm512_reduce_add_epi32(__m512i a);
unsigned _mm512_reduce_max_epu32(__m512i a);

// Loads, stores, constants, permutations, masks.
__m512i _mm512_loadu_si512(const void* p);
__m512 _mm512_loadu_ps(const void* p);
__m512i _mm512_load_si512(const void* p);
__m512 _mm512_load_ps(const void* p);
void _mm512_storeu_si512(void* p, __m512i a);
void _mm512_storeu_ps(void* p, __m512 a);
void _mm512_store_si512(void* p, __m512i a);
void _mm512_store_ps(void* p, __m512 a);
__m512 _mm512_maskz_loadu_ps(__mmask16 m, const void* p);
__m512i _mm512_maskz_loadu_epi8(__mmask64 m, const void* p);
__m512i _mm512_maskz_loadu_epi16(__mmask32 m, const void* p);
__m256i _mm256_maskz_loadu_epi16(__mmask16 m, const void* p);
__m128 _mm_maskz_loadu_ps(__mmask8 m, const void* p);
void _mm512_mask_storeu_ps(void* p, __mmask16 m, __m512 a);
void _mm512_mask_storeu_epi32(void* p, __mmask16 m, __m512i a);
__m512i _mm512_setzero_si512();
__m512 _mm512_setzero_ps();
__m512i _mm512_set1_epi8(char x);
__m512i _mm512_set1_epi16(short x);
__m512i _mm512_set1_epi32(int x);
__m512i _mm512_set1_epi64(long long x);
__m512 _mm512_set1_ps(float x);
__m512d _mm512_set1_pd(double x);
__m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l,
                          int m, int n, int o, int p);
__m512i _mm512_set_epi32(int p, int o, int n, int m, int l, int k, int j, int i, int h, int g, int f, int e,
                         int d, int c, int b, int a);
__m512i _mm512_set_epi64(long long h, long long g, long long f, long long e, long long d, long long c,
                         long long b, long long a);
__m512i _mm512_set4_epi64(long long d, long long c, long long b, long long a);
__m512 _mm512_setr_ps(float a, float b, float c, float d, float e, float f, float g, float h, float i,
                      float j, float k, float l, float m, float n, float o, float p);
__m512i _mm512_castps_si512(__m512 a);
__m512 _mm512_castsi512_ps(__m512i a);
__m256i _mm512_castsi512_si256(__m512i a);
__m128i _mm512_castsi512_si128(__m512i a);
__m256 _mm512_castps512_ps256(__m512 a);
__m512i _mm512_castsi256_si512(__m256i a);
__m512i _mm512_castsi128_si512(__m128i a);
__m512 _mm512_castps256_ps512(__m256 a);
__m512 _mm512_castps128_ps512(__m128 a);
__m512i _mm512_inserti32x4(__m512i a, __m128i b, int i);
__m512i _mm512_inserti32x8(__m512i a, __m256i b, int i);
__m512i _mm512_inserti64x4(__m512i a, __m256i b, int i);
__m512 _mm512_insertf32x8(__m512 a, __m256 b, int i);
__m256 _mm512_extractf32x8_ps(__m512 a, int i);
__m128i _mm512_extracti32x4_epi32(__m512i a, int i);
__m256i _mm512_extracti64x4_epi64(__m512i a, int i);
__m512i _mm512_zextsi256_si512(__m256i a);
__m512i _mm512_broadcast_i64x4(__m256i a);
__m512i _mm512_broadcast_i32x4(__m128i a);
__m512 _mm512_mask_mov_ps(__m512 from, __mmask16 m, __m512 a);
__m512 _mm512_maskz_mov_ps(__mmask16 m, __m512 a);
__m512i _mm512_mask_or_epi32(__m512i from, __mmask16 m, __m512i a, __m512i b);
__m512i _mm512_mask_blend_epi16(__mmask32 m, __m512i a, __m512i b);
__m512i _mm512_mask_broadcast_i32x4(__m512i from, __mmask16 m, __m128i a);
__m512i _mm512_mask_add_epi8(__m512i from, __mmask64 m, __m512i a, __m512i b);
__m512i _mm512_mask_add_epi16(__m512i from, __mmask32 m, __m512i a, __m512i b);
__m512i _mm512_mask_add_epi64(__m512i from, __mmask8 m, __m512i a, __m512i b);
__m512i _mm512_mask_sub_epi8(__m512i from, __mmask64 m, __m512i a, __m512i b);
// Of the predicates, _CMP_GE_OQ and _CMP_UNORD_Q.
__mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate);
__mmask16 _mm512_cmple_epi32_mask(__m512i a, __m512i b);
__mmask16 _mm512_cmpgt_epi32_mask(__m512i a, __m512i b);
__mmask32 _mm512_test_epi16_mask(__m512i a, __m512i b);
__m512i _mm512_permutexvar_epi8(__m512i i, __m512i a);
__m512i _mm512_permutexvar_epi16(__m512i i, __m512i a);
__m512i _mm512_permutexvar_epi32(__m512i i, __m512i a);
__m512 _mm512_permutexvar_ps(__m512i i, __m512 a);
__m512i _mm512_permutex2var_epi16(__m512i a, __m512i i, __m512i b);
__m512i _mm512_permutex2var_epi64(__m512i a, __m512i i, __m512i b);
__m512i _mm512_maskz_permutexvar_epi8(__mmask64 m, __m512i i, __m512i a);
__m512i _mm512_shuffle_epi8(__m512i a, __m512i control);
__m512i _mm512_unpacklo_epi32(__m512i a, __m512i b);
__m512i _mm512_unpackhi_epi32(__m512i a, __m512i b);
__m512i _mm512_unpacklo_epi64(__m512i a, __m512i b);
__m512i _mm512_unpackhi_epi64(__m512i a, __m512i b);
__m512 _mm512_unpacklo_ps(__m512 a, __m512 b);
__m512 _mm512_unpackhi_ps(__m512 a, __m512 b);
__m512 _mm512_shuffle_ps(__m512 a, __m512 b, unsigned order);
__m512 _mm512_permute_ps(__m512 a, unsigned order);
__m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, unsigned order);
__m512i _mm512_mask_shuffle_i32x4(__m512i from, __mmask16 m, __m512i a, __m512i b, unsigned order);
__m512i _mm512_multishift_epi64_epi8(__m512i control, __m512i a);
__m256i _mm256_multishift_epi64_epi8(__m256i control, __m256i a);

}  // namespace llmcore
