// Tiles of a cache of Q8_0 for attention_prefill: copied as they lie, then made F16, rounded to it like a
// cache of F16. Included by attention_prefill.cu alone.
#pragma once

#include "cuda/kernels/kv_q8.h"

namespace llmcore::cuda {
namespace {

template <int HeadDim, int Tokens>
struct Q8Tile {
    static constexpr int kBlocks = HeadDim / kQ8Block;
    static constexpr int kSpanBlocks = kBlocks < kQ8SpanBlocks ? kBlocks : kQ8SpanBlocks;
    static constexpr int kSpans = HeadDim < kQ8Span ? 1 : HeadDim / kQ8Span;
    static constexpr int kHeadBytes = kKvBlockTokens * kBlocks * kQ8BlockBytes;  // a head's, of a block
    static constexpr int kBytes = Tokens / kKvBlockTokens * kHeadBytes;          // keys or values of a tile

    // Copies the keys and then the values of tokens [token, token + Tokens), in blocks of which some token is
    // seen.
    SIMT_DEVICE static void copy(const KvLayer& kv, unsigned char* to, const int32_t* blocks, int kv_head,
                                 int token, SeenTokens seen) {
        const int64_t to_values = q8_bytes(value_offset(kv));
#pragma unroll
        for (int i = 0; i < Tokens / kKvBlockTokens; ++i) {
            const int at = token + i * kKvBlockTokens;
            if (at >= seen.end || at + kKvBlockTokens <= seen.begin) continue;
            const unsigned char* head = q8_head(kv, blocks[at / kKvBlockTokens], kv_head);
            unsigned char* of_block = to + i * kHeadBytes;
            for (int byte = 16 * static_cast<int>(threadIdx.x); byte < kHeadBytes;
                 byte += 16 * static_cast<int>(blockDim.x)) {
                copy_async16(of_block + byte, head + byte);
                copy_async16(of_block + kBytes + byte, head + to_values + byte);
            }
        }
    }

    // Tokens that are not seen become zeros. Rows of the tiles are `stride` apart.
    SIMT_DEVICE static void expand(const unsigned char* codes, uint16_t* keys, uint16_t* values, int stride,
                                   int token, SeenTokens seen) {
        constexpr int kPieces = kQ8Block / 4;  // of a token's span
        for (int i = static_cast<int>(threadIdx.x); i < 2 * kSpans * Tokens * kPieces;
             i += static_cast<int>(blockDim.x)) {
            const int piece = i % kPieces;
            // Neighbours are four rows apart: their 64 bytes are in different banks.
            const int order = i / kPieces % Tokens;
            const int in_tile = order / 8 * 8 + order % 2 * 4 + order % 8 / 2;
            const int span = i / (kPieces * Tokens) % kSpans;
            const bool is_value = i >= kSpans * Tokens * kPieces;
            const unsigned char* head =
                codes + (is_value ? kBytes : 0) + in_tile / kKvBlockTokens * kHeadBytes;
            const int in_block = in_tile % kKvBlockTokens;
            uint32_t words[kSpanBlocks];
            load_words(words, head + in_block * HeadDim + span * kQ8Span + piece * 4 * kSpanBlocks);
            const auto* scales = reinterpret_cast<const uint16_t*>(head + q8_scales_at(HeadDim)) +
                                 in_block * kBlocks + span * kSpanBlocks;
            const bool is_seen = token + in_tile >= seen.begin && token + in_tile < seen.end;
            uint16_t* to = (is_value ? values : keys) + in_tile * stride + span * kQ8Span + piece * 4;
#pragma unroll
            for (int block = 0; block < kSpanBlocks; ++block) {
                const uint32_t scale = is_seen ? scales[block] * 0x10001U : 0;
                uint32_t low, high;
                code_halves(words[block], low, high);
                *reinterpret_cast<uint2*>(to + block * kQ8Block) =
                    make_uint2(mul_halves(low, scale), mul_halves(high, scale));
            }
        }
    }
};

}  // namespace
}  // namespace llmcore::cuda
