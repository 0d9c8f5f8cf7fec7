// Bits out of the planes of frag16.h, as A fragments of mma m16n8k32; shared by the packed formats.
#pragma once

#include <stdint.h>

#include "cuda/frag16.h"

namespace llmcore::cuda {

constexpr int kNibblePlane = 16 * 128;  // bytes in a super-tile
constexpr int kBytePlane = 16 * 256;
constexpr int kCrumbPlane = 16 * 64;  // 2 bits
constexpr int kBitPlane = 16 * 32;

// The step's two words of a 4-bit plane.
SIMT_DEVICE uint2 nibble_words(const unsigned char* plane, int lane, int step) {
    return *reinterpret_cast<const uint2*>(plane + (step / 2 * 32 + lane) * 16 + step % 2 * 8);
}

SIMT_DEVICE void take_nibbles(const unsigned char* plane, int lane, int step, uint32_t (&a)[4]) {
    const uint2 words = nibble_words(plane, lane, step);
    a[0] = words.x & 0x0F0F0F0FU;
    a[1] = words.x >> 4 & 0x0F0F0F0FU;
    a[2] = words.y & 0x0F0F0F0FU;
    a[3] = words.y >> 4 & 0x0F0F0F0FU;
}

// Bit 4 of every code, from a 1-bit plane.
SIMT_DEVICE void add_bits(const unsigned char* plane, int lane, int step, uint32_t (&a)[4]) {
    const uint32_t bits = reinterpret_cast<const uint32_t*>(plane)[step / 2 * 32 + lane] >> step % 2 * 4;
    a[0] |= bits << 4 & 0x10101010U;
    a[1] |= bits << 3 & 0x10101010U;
    a[2] |= bits << 2 & 0x10101010U;
    a[3] |= bits << 1 & 0x10101010U;
}

// Bits 4 and 5 of every code, from a 2-bit plane.
SIMT_DEVICE void add_crumbs(const unsigned char* plane, int lane, int step, uint32_t (&a)[4]) {
    const uint32_t bits = reinterpret_cast<const uint32_t*>(plane)[(step / 2 * 32 + lane) * 2 + step % 2];
    a[0] |= bits << 4 & 0x30303030U;
    a[1] |= bits << 2 & 0x30303030U;
    a[2] |= bits & 0x30303030U;
    a[3] |= bits >> 2 & 0x30303030U;
}

SIMT_DEVICE void take_bytes(const unsigned char* plane, int lane, int step, uint32_t (&a)[4]) {
    const unsigned char* chunk = plane + step / 2 * 1024 + lane * 16 + step % 2 * 8;
    const uint2 row = *reinterpret_cast<const uint2*>(chunk);
    const uint2 row8 = *reinterpret_cast<const uint2*>(chunk + 512);
    a[0] = row.x;
    a[1] = row8.x;
    a[2] = row.y;
    a[3] = row8.y;
}

// Sixteen int8 that the nibbles of a plane stand for, four a word.
struct NibbleTable {
    uint32_t word0, word1, word2, word3;
};

// The tables of IQ4 and of E2M1 floats, doubled: kNonlinear4 and kTwiceE2M1 of block_expand.h.
SIMT_DEVICE NibbleTable nonlinear_table() { return {0xBFAD9881U, 0xF6EADDCFU, 0x26190D01U, 0x71594535U}; }
SIMT_DEVICE NibbleTable twice_e2m1_table() { return {0x03020100U, 0x0C080604U, 0xFDFEFF00U, 0xF4F8FAFCU}; }

// A permutation of bytes, which heeds 16 bits of its selector, looks up eight entries; one more takes, nibble
// by nibble, from the lower or upper eight.
SIMT_DEVICE void look_up_nibbles(uint32_t nibbles, const NibbleTable& table, uint32_t& low, uint32_t& high) {
    const uint32_t entries = nibbles & 0x77777777U;
    const uint32_t halves = (nibbles >> 1 & 0x44444444U) | 0x32103210U;
    const uint32_t first = __byte_perm(__byte_perm(table.word0, table.word1, entries),
                                       __byte_perm(table.word2, table.word3, entries), halves);
    const uint32_t second = __byte_perm(__byte_perm(table.word0, table.word1, entries >> 16),
                                        __byte_perm(table.word2, table.word3, entries >> 16), halves >> 16);
    low = __byte_perm(first, second, 0x6420);
    high = __byte_perm(first, second, 0x7531);
}

SIMT_DEVICE void take_from_table(const unsigned char* plane, int lane, int step, const NibbleTable& table,
                                 uint32_t (&a)[4]) {
    const uint2 words = nibble_words(plane, lane, step);
    look_up_nibbles(words.x, table, a[0], a[1]);
    look_up_nibbles(words.y, table, a[2], a[3]);
}

// Scales narrower than a word are read by words, so that unrolled loops over groups read each but once.
SIMT_DEVICE uint16_t half_of(const unsigned char* from, int index) {
    return static_cast<uint16_t>(reinterpret_cast<const uint32_t*>(from)[index / 2] >> index % 2 * 16 &
                                 0xFFFFU);
}
SIMT_DEVICE float byte_of(const unsigned char* from, int index) {
    return static_cast<float>(
        static_cast<int8_t>(reinterpret_cast<const uint32_t*>(from)[index / 4] >> index % 4 * 8 & 0xFFU));
}

// float16 scales [16 rows][8 groups of 32].
SIMT_DEVICE void half_scales(const unsigned char* from, int lane, int group, float (&scale)[2]) {
    const unsigned char* row = from + lane / 4 * 16;
    scale[0] = half_to_float(half_of(row, group));
    scale[1] = half_to_float(half_of(row + 8 * 16, group));
}

// int8 scales [16 rows][Groups], then float16 d[16 rows].
template <int Groups>
SIMT_DEVICE void byte_scales(const unsigned char* from, int lane, int group, float (&scale)[2]) {
    const unsigned char* row = from + lane / 4 * Groups;
    const auto* d = reinterpret_cast<const uint16_t*>(from + kTileRows * Groups) + lane / 4;
    scale[0] = half_to_float(d[0]) * byte_of(row, group);
    scale[1] = half_to_float(d[8]) * byte_of(row + 8 * Groups, group);
}

// Pairs of float16, scale and minimum, [16 rows][8 groups of 32].
SIMT_DEVICE void half_scales_mins(const unsigned char* from, int lane, int group, float (&scale)[2],
                                  float (&min)[2]) {
    const auto* pairs = reinterpret_cast<const uint32_t*>(from);
    const uint32_t pair = pairs[lane / 4 * 8 + group];
    const uint32_t pair8 = pairs[(lane / 4 + 8) * 8 + group];
    scale[0] = half_to_float(static_cast<uint16_t>(pair & 0xFFFFU));
    scale[1] = half_to_float(static_cast<uint16_t>(pair8 & 0xFFFFU));
    min[0] = half_to_float(static_cast<uint16_t>(pair >> 16));
    min[1] = half_to_float(static_cast<uint16_t>(pair8 >> 16));
}

// The 16 bytes that Q4_K and Q5_K start with: float16 d and dmin, eight 6-bit scales and minimums in 12
// bytes.
SIMT_DEVICE void super_scale_min(const uint4& head, int group, float& scale, float& min) {
    const int shift = group % 4 * 8;
    const uint32_t scales = head.y >> shift;
    const uint32_t mins = head.z >> shift;
    const uint32_t nibbles = head.w >> shift;
    const uint32_t s = group < 4 ? scales & 0x3FU : (nibbles & 0x0FU) | (scales >> 2 & 0x30U);
    const uint32_t m = group < 4 ? mins & 0x3FU : (nibbles >> 4 & 0x0FU) | (mins >> 2 & 0x30U);
    scale = half_to_float(static_cast<uint16_t>(head.x & 0xFFFFU)) * static_cast<float>(s);
    min = -half_to_float(static_cast<uint16_t>(head.x >> 16)) * static_cast<float>(m);
}

// Those 16 bytes, [16 rows].
SIMT_DEVICE void super_scales_mins(const unsigned char* from, int lane, int group, float (&scale)[2],
                                   float (&min)[2]) {
    const auto* heads = reinterpret_cast<const uint4*>(from);
    super_scale_min(heads[lane / 4], group, scale[0], min[0]);
    super_scale_min(heads[lane / 4 + 8], group, scale[1], min[1]);
}

}  // namespace llmcore::cuda
