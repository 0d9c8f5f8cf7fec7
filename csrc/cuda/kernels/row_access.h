// Rows of floats four at a time, and sums and maxima over the threads of a block.
#pragma once

#include "cuda/simt.h"

// Its own namespace, since other kernels have functions of the same names.
namespace llmcore::cuda::row_access {

// Whether rows of n floats from `row` on can be read and written as float4.
SIMT_DEVICE bool in_vectors(const float* row, int n) {
    return n % 4 == 0 && reinterpret_cast<uintptr_t>(row) % sizeof(float4) == 0;
}

// Columns [column, column + 4) of a row of n; 0 beyond it.
SIMT_DEVICE float4 load4(const float* row, int column, int n, bool vectors) {
    float4 values = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
    if (vectors) {
        if (column < n) values = *reinterpret_cast<const float4*>(row + column);
        return values;
    }
    if (column < n) values.x = row[column];
    if (column + 1 < n) values.y = row[column + 1];
    if (column + 2 < n) values.z = row[column + 2];
    if (column + 3 < n) values.w = row[column + 3];
    return values;
}

SIMT_DEVICE void store4(float* row, int column, int n, bool vectors, float4 values) {
    if (vectors) {
        if (column < n) *reinterpret_cast<float4*>(row + column) = values;
        return;
    }
    if (column < n) row[column] = values.x;
    if (column + 1 < n) row[column + 1] = values.y;
    if (column + 2 < n) row[column + 2] = values.z;
    if (column + 3 < n) row[column + 3] = values.w;
}

SIMT_DEVICE float4 add4(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
SIMT_DEVICE float4 mul4(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
SIMT_DEVICE float4 scale4(float4 a, float b) { return make_float4(a.x * b, a.y * b, a.z * b, a.w * b); }

SIMT_DEVICE int lane_of_thread() { return static_cast<int>(threadIdx.x % kWarp); }
SIMT_DEVICE int warp_of_thread() { return static_cast<int>(threadIdx.x / kWarp); }

SIMT_DEVICE float warp_sum(float value) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(kFullWarp, value, distance);
    return value;
}

SIMT_DEVICE uint64_t warp_max(uint64_t value) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        value = max(value, __shfl_xor_sync(kFullWarp, value, distance));
    return value;
}

// The sum over all threads of a block of whole warps; `shared` holds kWarp floats.
SIMT_DEVICE float block_sum(float value, float* shared) {
    value = warp_sum(value);
    if (lane_of_thread() == 0) shared[warp_of_thread()] = value;
    __syncthreads();
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    return warp_sum(lane_of_thread() < warps ? shared[lane_of_thread()] : 0.0F);
}

// Orders values, and the first of equals first: the key of a greater value, or of an equal one with a smaller
// index, is greater. NaN is below all others, and every key is above 0.
SIMT_DEVICE uint64_t ordered_key(float value, uint32_t index) {
    uint32_t order = 0;
    if (value == value) {
        const uint32_t bits = __float_as_uint(value == 0.0F ? 0.0F : value);  // -0 is equal to 0
        order = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
    }
    return static_cast<uint64_t>(order) << 32 | (0xFFFFFFFFU - index);
}

SIMT_DEVICE float value_of_key(uint64_t key) {
    const auto order = static_cast<uint32_t>(key >> 32);
    if (order == 0) return __uint_as_float(0x7FFFFFFFU);
    return __uint_as_float((order & 0x80000000U) != 0 ? order & 0x7FFFFFFFU : ~order);
}

SIMT_DEVICE uint32_t index_of_key(uint64_t key) { return 0xFFFFFFFFU - static_cast<uint32_t>(key); }

}  // namespace llmcore::cuda::row_access
