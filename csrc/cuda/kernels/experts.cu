#include "cuda/kernels/experts.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "cuda/frag16.h"
#include "cuda/kernels/row_access.h"

namespace llmcore::cuda {

namespace {

using namespace row_access;

constexpr int kRouteThreads = 1024;
constexpr int kCombineThreads = 256;

// A warp has a row: lane l the logits l + 32 i.
template <int PerLane>
SIMT_DEVICE void choose(const RouteArgs& args, int row) {
    const int lane = lane_of_thread();
    const float* logits = args.logits + row * args.logits_stride;
    uint64_t keys[PerLane];
    for (int i = 0; i < PerLane; ++i) {
        const int expert = lane + kWarp * i;
        keys[i] = expert < args.n_experts ? ordered_key(logits[expert], static_cast<uint32_t>(expert)) : 0;
    }
    const auto best_of_row = [&] {
        uint64_t best = 0;
        for (int i = 0; i < PerLane; ++i) best = max(best, keys[i]);
        return warp_max(best);
    };
    uint64_t best = best_of_row();
    const float largest = value_of_key(best);
    float sum = 0.0F;
    if (!args.normalized) {
        for (int i = 0; i < PerLane; ++i)
            if (keys[i] != 0) sum += expf(value_of_key(keys[i]) - largest);
    }
    float share = 0.0F;  // of the place that is this lane's
    int chosen = 0;
    for (int place = 0; place < args.n_used; ++place) {
        if (place > 0) best = best_of_row();
        for (int i = 0; i < PerLane; ++i)
            if (keys[i] == best) keys[i] = 0;
        if (place != lane) continue;
        share = expf(value_of_key(best) - largest);
        chosen = static_cast<int>(index_of_key(best));
    }
    const float factor = args.scale / warp_sum(args.normalized ? share : sum);
    if (lane < args.n_used) {
        args.experts[row * args.n_used + lane] = chosen;
        args.weights[row * args.n_used + lane] = share * factor;
    }
}

// The lanes that have the same expert; every lane of the warp calls this.
SIMT_DEVICE uint32_t lanes_of(int expert, int n_experts) {
    uint32_t same = kFullWarp;
    for (int bit = 1; bit <= n_experts; bit *= 2) {
        const uint32_t set = __ballot_sync(kFullWarp, (expert & bit) != 0 ? 1 : 0);
        same &= (expert & bit) != 0 ? set : ~set;
    }
    return same;
}

// Calls `visit(i, expert, lanes)` for the warp's part of all pairs i in ascending order, 32 at a time;
// `lanes` have the same expert, which is n_experts beyond the last pair.
template <class Visit>
SIMT_DEVICE void for_each_pair(const RouteArgs& args, Visit visit) {
    const int n_pairs = args.rows * args.n_used;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const int part = (n_pairs + warps * kWarp - 1) / (warps * kWarp) * kWarp;
    const int begin = warp_of_thread() * part;
    for (int first = begin; first < min(begin + part, n_pairs); first += kWarp) {
        const int i = first + lane_of_thread();
        const int expert = i < n_pairs ? __ldcg(args.experts + i) : args.n_experts;
        visit(i, expert, lanes_of(expert, args.n_experts));
        __syncwarp();
    }
}

// A counting sort by one block: warps count their part of the pairs, then place them.
SIMT_DEVICE void sort_by_expert(const RouteArgs& args, int32_t* shared) {
    const int n = args.n_experts;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const auto threads = static_cast<int>(blockDim.x);
    const auto thread = static_cast<int>(threadIdx.x);
    const int lane = lane_of_thread();
    int32_t* totals = shared;      // [n]; then where an expert begins
    int32_t* counts = shared + n;  // [warps][n]; then where the next pair of a warp goes
    int32_t* mine = counts + warp_of_thread() * n;
    for (int i = thread; i < warps * n; i += threads) counts[i] = 0;
    __syncthreads();
    for_each_pair(args, [&](int, int expert, uint32_t lanes) {
        if (expert < n && lane == __ffs(static_cast<int>(lanes)) - 1) mine[expert] += __popc(lanes);
    });
    __syncthreads();
    for (int expert = thread; expert < n; expert += threads) {
        int32_t total = 0;
        for (int warp = 0; warp < warps; ++warp) {
            const int32_t count = counts[warp * n + expert];
            counts[warp * n + expert] = total;
            total += count;
        }
        totals[expert] = total;
    }
    __syncthreads();
    if (warp_of_thread() == 0) {
        int32_t before = 0;
        for (int first = 0; first < n; first += kWarp) {
            const int expert = first + lane;
            const int32_t count = expert < n ? totals[expert] : 0;
            int32_t through = count;
            for (int distance = 1; distance < kWarp; distance *= 2) {
                const int32_t other = __shfl_up_sync(kFullWarp, through, static_cast<unsigned>(distance));
                if (lane >= distance) through += other;
            }
            if (expert < n) {
                totals[expert] = before + through - count;
                args.expert_begin[expert] = before + through - count;
            }
            before += __shfl_sync(kFullWarp, through, kWarp - 1);
        }
        if (lane == 0) args.expert_begin[n] = before;
    }
    __syncthreads();
    for_each_pair(args, [&](int i, int expert, uint32_t lanes) {
        int32_t slot = 0;
        if (expert < n) {
            slot = totals[expert] + mine[expert] + __popc(lanes & ((1U << lane) - 1U));
            args.slots[i] = slot;
            args.slot_rows[slot] = i / args.n_used;
        }
        __syncwarp();
        if (expert < n && lane == __ffs(static_cast<int>(lanes)) - 1) mine[expert] += __popc(lanes);
    });
}

// Blocks choose for their rows; the last to arrive sorts all of them.
template <int PerLane>
SIMT_GLOBAL void SIMT_BOUNDS(kRouteThreads, 1) route_kernel(RouteArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    auto* shared = reinterpret_cast<int32_t*>(shared_memory());
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const int row = static_cast<int>(blockIdx.x) * warps + warp_of_thread();
    if (row < args.rows) choose<PerLane>(args, row);
    __threadfence();
    __syncthreads();
    if (gridDim.x > 1) {
        if (threadIdx.x == 0) shared[0] = static_cast<int32_t>(atomicAdd(args.arrived, 1U));
        __syncthreads();
        const bool last = shared[0] + 1 == static_cast<int32_t>(gridDim.x);
        __syncthreads();
        if (!last) return;
        __threadfence();
        if (threadIdx.x == 0) *args.arrived = 0;
    }
    sort_by_expert(args, shared);
}

SIMT_GLOBAL void SIMT_BOUNDS(kCombineThreads, 1) combine_kernel(CombineArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    const int row = static_cast<int>(blockIdx.x);
    const int column = 4 * static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
    const int32_t* slots = args.slots + row * args.n_used;
    const float* weights = args.weights + row * args.n_used;
    float4 sums = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
    if (args.residual != nullptr) {
        const float* residual = args.residual + row * args.out_stride;
        sums = load4(residual, column, args.width, in_vectors(residual, args.width));
    }
    for (int place = 0; place < args.n_used; ++place) {
        const float* down = args.down_rows + slots[place] * args.down_stride;
        const float4 values = load4(down, column, args.width, in_vectors(down, args.width));
        const float weight = weights[place];
        sums.x = fmaf(weight, values.x, sums.x);
        sums.y = fmaf(weight, values.y, sums.y);
        sums.z = fmaf(weight, values.z, sums.z);
        sums.w = fmaf(weight, values.w, sums.w);
    }
    float* out = args.out + row * args.out_stride;
    store4(out, column, args.width, in_vectors(out, args.width), sums);
}

}  // namespace

void route(const Stream& stream, const RouteArgs& args) {
    if (args.rows <= 0) return;
    if (args.n_experts > kMostExperts || args.n_used > std::min(args.n_experts, kMostUsedExperts))
        fail(ErrorCode::internal, "cuda", "mixture of experts",
             std::to_string(args.n_used) + " of " + std::to_string(args.n_experts),
             "at most " + std::to_string(kMostUsedExperts) + " of " + std::to_string(kMostExperts));
    const int warps = std::min(args.rows, kRouteThreads / kWarp);
    const LaunchShape shape = {
        .grid_x = static_cast<unsigned>(tiles_of(args.rows, warps)),
        .threads = static_cast<unsigned>(warps * kWarp),
        .shared_bytes = static_cast<std::size_t>((warps + 1) * args.n_experts) * sizeof(int32_t)};
    if (args.n_experts <= 2 * kWarp)
        launch(stream, route_kernel<2>, shape, args);
    else if (args.n_experts <= 4 * kWarp)
        launch(stream, route_kernel<4>, shape, args);
    else if (args.n_experts <= 8 * kWarp)
        launch(stream, route_kernel<8>, shape, args);
    else
        launch(stream, route_kernel<kMostExperts / kWarp>, shape, args);
}

void combine_experts(const Stream& stream, const CombineArgs& args) {
    if (args.rows <= 0 || args.width <= 0) return;
    const int64_t quads = tiles_of(args.width, 4);
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(args.rows);
    shape.threads = static_cast<unsigned>(std::min<int64_t>(tiles_of(quads, kWarp) * kWarp, kCombineThreads));
    shape.grid_y = static_cast<unsigned>(tiles_of(quads, shape.threads));
    launch(stream, combine_kernel, shape, args);
}

}  // namespace llmcore::cuda
