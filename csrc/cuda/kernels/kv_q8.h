// A cache of Q8_0: what it is made of and how its codes become F16.
//
// The 32 tokens of a head in a block of the cache are their codes, then their scales, in as many bytes as
// GGUF's blocks would take, so that both are read in whole vectors:
//   int8 [token][head_dim], F16 [token][head_dim / 32]
// Within a token the codes are interleaved, since scales meet sums and not single codes: four dimensions of
// each scale in turn, over spans of up to four scales. A lane's vector has then its share of every scale, and
// the columns of an mma tile have one scale.
#pragma once

#include "cuda/kernels/attention_device.h"

namespace llmcore::cuda {

constexpr int kQ8Block = 32;  // codes with one scale
constexpr int kQ8BlockBytes = 34;
constexpr int kQ8SpanBlocks = 4;
constexpr int kQ8Span = kQ8SpanBlocks * kQ8Block;

// Where in a token's codes that of a dimension is.
SIMT_BOTH int q8_code_at(int head_dim, int dim) {
    const int span = dim / kQ8Span * kQ8Span;
    const int left = (head_dim - span) / kQ8Block;
    const int blocks = left < kQ8SpanBlocks ? left : kQ8SpanBlocks;
    const int block = (dim - span) / kQ8Block;
    return span + dim % kQ8Block / 4 * 4 * blocks + 4 * block + dim % 4;
}

SIMT_BOTH int64_t q8_bytes(int64_t elements) { return elements / kQ8Block * kQ8BlockBytes; }

// The codes of a head's keys; those of its values are q8_bytes(value_offset()) behind.
SIMT_DEVICE const unsigned char* q8_head(const KvLayer& kv, int block, int kv_head) {
    return static_cast<const unsigned char*>(kv.base) + q8_bytes(head_block(kv, block, kv_head));
}
// From a head's codes to its scales.
SIMT_BOTH int q8_scales_at(int head_dim) { return kKvBlockTokens * head_dim; }

#if defined(__CUDACC__)
SIMT_DEVICE __half2 as_halves(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }
SIMT_DEVICE uint32_t bits_of(__half2 pair) { return *reinterpret_cast<uint32_t*>(&pair); }
SIMT_DEVICE uint32_t sub_halves(uint32_t a, uint32_t b) {
    return bits_of(__hsub2(as_halves(a), as_halves(b)));
}
SIMT_DEVICE uint32_t mul_halves(uint32_t a, uint32_t b) {
    return bits_of(__hmul2(as_halves(a), as_halves(b)));
}
#else
SIMT_DEVICE uint32_t sub_halves(uint32_t a, uint32_t b) {
    const float2 x = unpack_halves(a);
    const float2 y = unpack_halves(b);
    return pack_halves(x.x - y.x, x.y - y.y);
}
SIMT_DEVICE uint32_t mul_halves(uint32_t a, uint32_t b) {
    const float2 x = unpack_halves(a);
    const float2 y = unpack_halves(b);
    return pack_halves(x.x * y.x, x.y * y.y);
}
#endif

// Four codes as F16, exactly: code + 128 as the low bits of 1024 + ..., less 1152.
SIMT_DEVICE void code_halves(uint32_t codes, uint32_t& low, uint32_t& high) {
    const uint32_t raised = codes ^ 0x80808080U;
    low = sub_halves(__byte_perm(raised, 0x64646464U, 0x4140), 0x64806480U);
    high = sub_halves(__byte_perm(raised, 0x64646464U, 0x4342), 0x64806480U);
}

// Words that lie as their number allows: at a multiple of 16, 8 or 4 bytes.
template <int Words>
SIMT_DEVICE void load_words(uint32_t (&to)[Words], const unsigned char* from) {
    if constexpr (Words % 4 == 0) {
#pragma unroll
        for (int i = 0; i < Words; i += 4) {
            const uint4 words = *reinterpret_cast<const uint4*>(from + 4 * i);
            to[i] = words.x, to[i + 1] = words.y, to[i + 2] = words.z, to[i + 3] = words.w;
        }
    } else if constexpr (Words % 2 == 0) {
#pragma unroll
        for (int i = 0; i < Words; i += 2) {
            const uint2 words = *reinterpret_cast<const uint2*>(from + 4 * i);
            to[i] = words.x, to[i + 1] = words.y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < Words; ++i) to[i] = *reinterpret_cast<const uint32_t*>(from + 4 * i);
    }
}

}  // namespace llmcore::cuda
