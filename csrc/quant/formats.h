// Tensor formats of GGUF: identifiers, block structures, sizes. POD only: kernel files of every ISA include
// this. Block layouts: the ggml project's ggml-common.h (facts of the file format); names and comments are
// ours.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace llmcore {

// Values are GGUF's type numbers.
enum class Format : uint32_t {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    none = 0xFFFFFFFF,
};

// clang-format off
#pragma pack(push, 1)
struct BlockQ4_0 { uint16_t d; uint8_t qs[16]; };                   // x = d * (q - 8), low nibbles first
struct BlockQ4_1 { uint16_t d, m; uint8_t qs[16]; };                // x = d * q + m
struct BlockQ5_0 { uint16_t d; uint8_t qh[4]; uint8_t qs[16]; };    // x = d * (q - 16)
struct BlockQ5_1 { uint16_t d, m; uint8_t qh[4]; uint8_t qs[16]; }; // x = d * q + m
struct BlockQ8_0 { uint16_t d; int8_t qs[32]; };                    // x = d * q
struct BlockQ2_K { uint8_t scales[16]; uint8_t qs[64]; uint16_t d, dmin; };
struct BlockQ3_K { uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d; };
struct BlockQ4_K { uint16_t d, dmin; uint8_t scales[12]; uint8_t qs[128]; };
struct BlockQ5_K { uint16_t d, dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128]; };
struct BlockQ6_K { uint8_t ql[128]; uint8_t qh[64]; int8_t scales[16]; uint16_t d; };
struct BlockIQ4_NL { uint16_t d; uint8_t qs[16]; };
struct BlockIQ4_XS { uint16_t d; uint16_t scales_h; uint8_t scales_l[4]; uint8_t qs[128]; };
// Eight times: four grid indices of 8 bits, four times 7 signs, 4 bits of scale.
struct BlockIQ2_XXS { uint16_t d; uint8_t qs[64]; };
struct BlockIQ2_XS { uint16_t d; uint16_t qs[32]; uint8_t scales[8]; };  // 9 bits of grid index, 7 signs
struct BlockIQ2_S { uint16_t d; uint8_t qs[32]; uint8_t signs[32]; uint8_t qh[8]; uint8_t scales[8]; };
// `scales`: eight times four times 7 signs and 4 bits of scale.
struct BlockIQ3_XXS { uint16_t d; uint8_t qs[64]; uint8_t scales[32]; };
struct BlockIQ3_S { uint16_t d; uint8_t qs[64]; uint8_t qh[8]; uint8_t signs[32]; uint8_t scales[4]; };
// qh: four times 3 high bits of the grid index, 3 bits of scale, the sign of the shift.
struct BlockIQ1_S { uint16_t d; uint8_t qs[32]; uint16_t qh[8]; };
// qh: two times 3 high bits of the grid index and the sign of the shift. scales: four times 3 bits of scale,
// and a nibble of d.
struct BlockIQ1_M { uint8_t qs[32]; uint8_t qh[16]; uint16_t scales[4]; };
struct BlockTQ1_0 { uint8_t qs[48]; uint8_t qh[4]; uint16_t d; };  // x = d * (q - 1), five q a byte
struct BlockTQ2_0 { uint8_t qs[64]; uint16_t d; };                 // x = d * (q - 1), four q a byte
struct BlockMXFP4 { uint8_t e; uint8_t qs[16]; };                  // x = 2^(e - 128) * twice an E2M1 float
#pragma pack(pop)
// clang-format on

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84);
static_assert(sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176);
static_assert(sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockIQ2_XXS) == 66 && sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82);
static_assert(sizeof(BlockIQ3_XXS) == 98 && sizeof(BlockIQ3_S) == 110 && sizeof(BlockIQ1_S) == 50);
static_assert(sizeof(BlockIQ1_M) == 56 && sizeof(BlockTQ1_0) == 54 && sizeof(BlockTQ2_0) == 66);
static_assert(sizeof(BlockMXFP4) == 17);

struct FormatInfo {
    Format format;
    const char* name;        // as GGUF names it: "Q4_K"
    int64_t block_elements;  // 1 for the unquantized ones
    int64_t block_bytes;
    bool can_dequantize;
};

}  // namespace llmcore
