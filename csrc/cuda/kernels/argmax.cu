// The largest of a row: blocks find that of their part, and the last of them to arrive that of the row.
#include <algorithm>

#include "cuda/frag16.h"
#include "cuda/kernels/row_access.h"
#include "cuda/kernels/rows.h"

namespace llmcore::cuda {

namespace {

using namespace row_access;

constexpr int kThreads = 256;
constexpr int kMostParts = 128;      // of a row
constexpr int kWantedBlocks = 1024;  // more do not make a step faster
constexpr int kLeastPartColumns = 2048;

// Per row: the keys of its parts, and how many have arrived.
struct RowParts {
    uint64_t keys[kMostParts];
    uint32_t arrived;
};

// The greater of the best value so far and `value`, whose index is greater.
SIMT_DEVICE void take(float value, int index, float& best, int& best_index) {
    if (value > best || (best_index < 0 && value == value)) {
        best = value;
        best_index = index;
    }
}

SIMT_GLOBAL void SIMT_BOUNDS(kThreads, 1) argmax_kernel(ArgmaxRowsArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    auto* warp_keys = reinterpret_cast<uint64_t*>(shared_memory());
    const int row = static_cast<int>(blockIdx.x);
    const float* values = args.values + row * args.stride;
    const bool vectors = reinterpret_cast<uintptr_t>(values) % sizeof(float4) == 0;
    const int step = static_cast<int>(gridDim.y) * kThreads;
    float best = -INFINITY;
    int best_index = -1;
    int quad = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
    if (vectors) {
        for (; 4 * quad + 3 < args.n; quad += step) {
            const float4 four = *reinterpret_cast<const float4*>(values + 4 * quad);
            take(four.x, 4 * quad, best, best_index);
            take(four.y, 4 * quad + 1, best, best_index);
            take(four.z, 4 * quad + 2, best, best_index);
            take(four.w, 4 * quad + 3, best, best_index);
        }
    }
    for (; 4 * quad < args.n; quad += step)
        for (int index = 4 * quad; index < min(4 * quad + 4, args.n); ++index)
            take(values[index], index, best, best_index);

    uint64_t key = best_index < 0 ? 0 : ordered_key(best, static_cast<uint32_t>(best_index));
    key = warp_max(key);
    if (lane_of_thread() == 0) warp_keys[warp_of_thread()] = key;
    __syncthreads();
    if (warp_of_thread() != 0) return;
    key = warp_max(lane_of_thread() < kThreads / kWarp ? warp_keys[lane_of_thread()] : 0);

    RowParts& parts = static_cast<RowParts*>(args.workspace)[row];
    const int n_parts = static_cast<int>(gridDim.y);
    if (n_parts > 1) {
        uint32_t before = 0;
        if (lane_of_thread() == 0) {
            __stcg(&parts.keys[blockIdx.y], key);
            __threadfence();
            before = atomicAdd(&parts.arrived, 1U);
        }
        before = __shfl_sync(kFullWarp, before, 0);
        if (before + 1 != static_cast<uint32_t>(n_parts)) return;
        __threadfence();
        key = 0;
        for (int part = lane_of_thread(); part < n_parts; part += kWarp)
            key = max(key, __ldcg(&parts.keys[part]));
        key = warp_max(key);
        if (lane_of_thread() == 0) parts.arrived = 0;
    }
    if (lane_of_thread() == 0) args.out[row] = key == 0 ? 0 : static_cast<int32_t>(index_of_key(key));
}

}  // namespace

std::size_t argmax_workspace_bytes(int64_t m) { return static_cast<std::size_t>(m) * sizeof(RowParts); }

void argmax_rows(const Stream& stream, const ArgmaxRowsArgs& args) {
    if (args.m <= 0) return;
    const int64_t useful = std::min<int64_t>(tiles_of(args.n, kLeastPartColumns), kMostParts);
    const int64_t parts = std::clamp<int64_t>(kWantedBlocks / args.m, 1, std::max<int64_t>(useful, 1));
    launch(stream, argmax_kernel,
           {.grid_x = static_cast<unsigned>(args.m),
            .grid_y = static_cast<unsigned>(parts),
            .threads = kThreads,
            .shared_bytes = kThreads / kWarp * sizeof(uint64_t)},
           args);
}

}  // namespace llmcore::cuda
