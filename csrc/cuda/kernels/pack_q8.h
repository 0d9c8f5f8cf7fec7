// Activations as int8 with a scale per 32 columns, made by a whole block: on its own, or as a product's
// prologue.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/frag16.h"

namespace llmcore::cuda {

// A packed row in global memory: int8[k padded to 256], float scales[padded / 32], int32 sums of codes[padded
// / 16].
SIMT_BOTH int64_t q8_row_bytes(int64_t k) {
    const int64_t padded = tiles_of(k, kTileCols) * kTileCols;
    return padded + padded / 32 * 4 + padded / 16 * 4;
}

// Float rows, of which the product takes RMSNorm(row) * norm_weight if there is a weight.
struct PackInput {
    const float* rows;
    int64_t stride;
    const float* norm_weight;
    float norm_eps;
    int32_t k;
};

void pack_q8_rows(const Stream& stream, const PackInput& input, int32_t m, unsigned char* packed);

constexpr int kPackLoads = 4;  // float4 that a thread has under way

// Sums `value` over the block; `scratch` has a float a warp. Every thread gets the sum.
SIMT_DEVICE float sum_over_block(float value, float* scratch) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
    __syncthreads();  // an earlier sum may still be read
    if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
    __syncthreads();
    float sum = 0.0F;
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += scratch[warp];
    return sum;
}

SIMT_DEVICE float4 load_float4(const float* row, int column, int k) {
    // Rows of any length and alignment: whole vectors only where they are.
    if (column + 4 <= k && reinterpret_cast<uintptr_t>(row) % 16 == 0)
        return *reinterpret_cast<const float4*>(row + column);
    float4 v = {0.0F, 0.0F, 0.0F, 0.0F};
    if (column < k) v.x = row[column];
    if (column + 1 < k) v.y = row[column + 1];
    if (column + 2 < k) v.z = row[column + 2];
    if (column + 3 < k) v.w = row[column + 3];
    return v;
}

SIMT_DEVICE uint32_t magnitude_bits(float value) { return __float_as_uint(value) & 0x7FFFFFFFU; }
SIMT_DEVICE uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

// q = round(x * 127 / max|x|) of 32 columns that 8 lanes hold, 4 each. A group that holds an infinity or a
// NaN gets the scale NaN, so that what it touches is visibly not a number. Store: (q of 4 columns, scale,
// their sum).
template <class Store>
SIMT_DEVICE void quantize_group(const float4& v, Store store) {
    uint32_t most = larger(larger(magnitude_bits(v.x), magnitude_bits(v.y)),
                           larger(magnitude_bits(v.z), magnitude_bits(v.w)));
    for (int offset = 4; offset > 0; offset /= 2)
        most = larger(most, __shfl_xor_sync(kFullWarp, most, offset));
    const bool finite = most < 0x7F800000U;
    const bool tiny = most < 0x03800000U;  // 127 / max would not be finite
    const float scale = finite ? __uint_as_float(most) / 127.0F : __uint_as_float(0x7FC00000U);
    const float inverse = finite && !tiny ? 127.0F / __uint_as_float(most) : 0.0F;
    const int q0 = __float2int_rn(v.x * inverse);
    const int q1 = __float2int_rn(v.y * inverse);
    const int q2 = __float2int_rn(v.z * inverse);
    const int q3 = __float2int_rn(v.w * inverse);
    const uint32_t word =
        (q0 & 0xFF) | (q1 & 0xFF) << 8 | (q2 & 0xFF) << 16 | static_cast<uint32_t>(q3) << 24;
    store(finite ? word : 0U, tiny ? 0.0F : scale, finite ? q0 + q1 + q2 + q3 : 0);
}

// Of 4 columns a lane, the sum over the 16 that a lane's are in.
SIMT_DEVICE int sum_of_16(int sum) {
    sum += __shfl_xor_sync(kFullWarp, sum, 1);
    return sum + __shfl_xor_sync(kFullWarp, sum, 2);
}

// The whole block packs one row; Store: (column of the first of 4, word, scale, sum of the 4), by all lanes
// of a warp. blockDim.x is a multiple of 32; every thread calls it. scratch: a float a warp.
template <int Loads = kPackLoads, class Store>
SIMT_DEVICE void pack_row(const PackInput& input, int64_t row, float* scratch, Store store) {
    const float* x = input.rows + row * input.stride;
    const int step = static_cast<int>(blockDim.x) * 4;
    const int padded = static_cast<int>(tiles_of(input.k, kTileCols)) * kTileCols;
    const int first = static_cast<int>(threadIdx.x) * 4;
    float4 v[Loads];
    const auto load = [&](int chunk) {
#pragma unroll
        for (int i = 0; i < Loads; ++i) v[i] = load_float4(x, chunk + first + i * step, input.k);
    };
    const auto squares = [&] {
        float sum = 0.0F;
#pragma unroll
        for (int i = 0; i < Loads; ++i)
            sum += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
        return sum;
    };
    const int chunk_columns = step * Loads;
    load(0);
    float inverse = 1.0F;
    if (input.norm_weight != nullptr) {
        float sum = squares();
        for (int chunk = chunk_columns; chunk < padded; chunk += chunk_columns) {
            load(chunk);
            sum += squares();
        }
        if (padded > chunk_columns) load(0);
        inverse = 1.0F / sqrtf(sum_over_block(sum, scratch) / static_cast<float>(input.k) + input.norm_eps);
    }
    for (int chunk = 0; chunk < padded; chunk += chunk_columns) {
        if (chunk > 0) load(chunk);
#pragma unroll
        for (int i = 0; i < Loads; ++i) {
            const int column = chunk + first + i * step;
            // A warp covers 128 columns and rows are padded to 256: its lanes are all in or all out.
            if (column >= padded) continue;
            float4 value = v[i];
            if (input.norm_weight != nullptr) {
                const float4 w = load_float4(input.norm_weight, column, input.k);
                value = {value.x * inverse * w.x, value.y * inverse * w.y, value.z * inverse * w.z,
                         value.w * inverse * w.w};
            }
            quantize_group(value,
                           [&](uint32_t word, float scale, int sum) { store(column, word, scale, sum); });
        }
    }
}

}  // namespace llmcore::cuda
