#include "cuda/kernels/rows.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "cuda/frag16.h"
#include "cuda/kernels/row_access.h"

namespace llmcore::cuda {

namespace {

using namespace row_access;

constexpr int kMostThreads = 1024;
constexpr int kPackThreads = 128;
constexpr int kGatherThreads = 256;
constexpr int kPackColumns = 16;  // of a thread at a time: the columns whose order changes

unsigned whole_warps(int64_t threads) { return static_cast<unsigned>(tiles_of(threads, kWarp) * kWarp); }

template <int Items>
SIMT_DEVICE float sum_of_squares(const float4 (&values)[Items]) {
    float sum = 0.0F;
    for (int i = 0; i < Items; ++i) {
        sum = fmaf(values[i].x, values[i].x, sum);
        sum = fmaf(values[i].y, values[i].y, sum);
        sum = fmaf(values[i].z, values[i].z, sum);
        sum = fmaf(values[i].w, values[i].w, sum);
    }
    return sum;
}

template <int Items>
SIMT_GLOBAL void SIMT_BOUNDS(kMostThreads, 1) norm_kernel(NormRowsArgs args) {
    next_kernel_may_start();
    const int n = args.n;
    const int row = static_cast<int>(blockIdx.x);
    const auto column_of = [](int i) { return 4 * static_cast<int>(threadIdx.x + i * blockDim.x); };
    const bool weight_vectors = in_vectors(args.weight, n);
    // Longer rows have no registers for weights that come early.
    constexpr bool weights_first = Items <= 2;
    float4 weights[Items];
    if constexpr (weights_first) {
        for (int i = 0; i < Items; ++i) weights[i] = load4(args.weight, column_of(i), n, weight_vectors);
    }
    previous_kernels_done();

    const float* x = args.x + row * args.x_stride;
    const bool x_vectors = in_vectors(x, n);
    float4 values[Items];
    for (int i = 0; i < Items; ++i) values[i] = load4(x, column_of(i), n, x_vectors);
    const float sum = block_sum(sum_of_squares(values), reinterpret_cast<float*>(shared_memory()));
    const float scale = 1.0F / sqrtf(sum / static_cast<float>(n) + args.eps);

    float* out = args.out + row * args.out_stride;
    const bool out_vectors = in_vectors(out, n);
    const float* residual = args.residual == nullptr ? nullptr : args.residual + row * args.out_stride;
    const bool residual_vectors = in_vectors(residual, n);
    for (int i = 0; i < Items; ++i) {
        const int column = column_of(i);
        float4 weight;
        if constexpr (weights_first)
            weight = weights[i];
        else
            weight = load4(args.weight, column, n, weight_vectors);
        float4 result = mul4(scale4(values[i], scale), weight);
        if (residual != nullptr) result = add4(result, load4(residual, column, n, residual_vectors));
        store4(out, column, n, out_vectors, result);
    }
}

// 16 columns in the order of permuted_column().
SIMT_DEVICE void store_permuted(uint16_t* out, float4 a, float4 b, float4 c, float4 d) {
    auto* words = reinterpret_cast<uint4*>(out);
    words[0] = make_uint4(pack_bf16x2(a.x, a.y), pack_bf16x2(b.x, b.y), pack_bf16x2(c.x, c.y),
                          pack_bf16x2(d.x, d.y));
    words[1] = make_uint4(pack_bf16x2(a.z, a.w), pack_bf16x2(b.z, b.w), pack_bf16x2(c.z, c.w),
                          pack_bf16x2(d.z, d.w));
}

// A thread has `Groups` groups of 16 columns; without the norm a row is spread over blocks.
template <int Groups, bool Normed>
SIMT_GLOBAL void SIMT_BOUNDS(kMostThreads, 1) pack_kernel(PackRowsArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    const int row = static_cast<int>(blockIdx.x);
    const int k = args.k;
    if (args.live_rows != nullptr && row >= *args.live_rows) return;
    const int64_t source = args.source_rows == nullptr ? row : args.source_rows[row];
    const float* x = args.x + source * args.x_stride;
    const bool x_vectors = in_vectors(x, k);
    const int padded = static_cast<int>(tiles_of(k, kTileCols) * kTileCols);
    const int first = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
    const auto column_of = [&](int group) {
        return kPackColumns * (first + group * static_cast<int>(blockDim.x));
    };

    float4 values[4 * Groups];
    for (int i = 0; i < 4 * Groups; ++i) values[i] = load4(x, column_of(i / 4) + 4 * (i % 4), k, x_vectors);
    if constexpr (Normed) {
        const bool weight_vectors = in_vectors(args.norm_weight, k);
        const float sum = block_sum(sum_of_squares(values), reinterpret_cast<float*>(shared_memory()));
        const float scale = 1.0F / sqrtf(sum / static_cast<float>(k) + args.norm_eps);
        for (int i = 0; i < 4 * Groups; ++i) {
            const int column = column_of(i / 4) + 4 * (i % 4);
            const float4 weight = load4(args.norm_weight, column, k, weight_vectors);
            values[i] = mul4(scale4(values[i], scale), weight);
        }
    }
    uint16_t* out = args.out + static_cast<int64_t>(row) * padded;
    for (int group = 0; group < Groups; ++group) {
        const int i = 4 * group;
        if (column_of(group) < padded)
            store_permuted(out + column_of(group), values[i], values[i + 1], values[i + 2], values[i + 3]);
    }
}

SIMT_GLOBAL void SIMT_BOUNDS(kGatherThreads, 1) gather_kernel(GatherRowsArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    const int row = static_cast<int>(blockIdx.x);
    const int column = 4 * static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
    const int64_t source = args.rows == nullptr ? row : args.rows[row];
    const float* in = args.in + source * args.in_stride;
    float4 values = load4(in, column, args.n, in_vectors(in, args.n));
    if (args.added != nullptr) {
        const float* added = args.added + row * args.out_stride;
        values = add4(values, load4(added, column, args.n, in_vectors(added, args.n)));
    }
    float* out = args.out + row * args.out_stride;
    store4(out, column, args.n, in_vectors(out, args.n), values);
}

void check_norm_row(int64_t n) {
    if (n > kLongestNormRow)
        fail(ErrorCode::internal, "cuda", "row of a norm", std::to_string(n),
             "at most " + std::to_string(kLongestNormRow) + " values");
}

}  // namespace

void norm_rows(const Stream& stream, const NormRowsArgs& args) {
    check_norm_row(args.n);
    if (args.m <= 0 || args.n <= 0) return;
    const int64_t quads = tiles_of(args.n, 4);
    const auto run = [&](auto* kernel, int items) {
        launch(stream, kernel,
               {.grid_x = static_cast<unsigned>(args.m),
                .threads = whole_warps(tiles_of(quads, items)),
                .shared_bytes = kWarp * sizeof(float)},
               args);
    };
    if (quads <= kMostThreads / 2)
        run(norm_kernel<1>, 1);
    else if (quads <= kMostThreads * 2)
        run(norm_kernel<2>, 2);
    else if (quads <= kMostThreads * 4)
        run(norm_kernel<4>, 4);
    else
        run(norm_kernel<8>, 8);
}

void pack_bf16_rows(const Stream& stream, const PackRowsArgs& args) {
    if (args.m <= 0 || args.k <= 0) return;
    const int64_t groups = tiles_of(args.k, kTileCols) * (kTileCols / kPackColumns);
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(args.m);
    if (args.norm_weight == nullptr) {
        shape.threads = static_cast<unsigned>(std::min<int64_t>(whole_warps(groups), kPackThreads));
        shape.grid_y = static_cast<unsigned>(tiles_of(groups, shape.threads));
        launch(stream, pack_kernel<1, false>, shape, args);
        return;
    }
    check_norm_row(args.k);
    shape.shared_bytes = kWarp * sizeof(float);
    if (groups <= kMostThreads) {
        shape.threads = whole_warps(groups);
        launch(stream, pack_kernel<1, true>, shape, args);
    } else {
        shape.threads = whole_warps(tiles_of(groups, 2));
        launch(stream, pack_kernel<2, true>, shape, args);
    }
}

void gather_rows(const Stream& stream, const GatherRowsArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    const int64_t quads = tiles_of(args.n, 4);
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(args.m);
    shape.threads = static_cast<unsigned>(std::min<int64_t>(whole_warps(quads), kGatherThreads));
    shape.grid_y = static_cast<unsigned>(tiles_of(quads, shape.threads));
    launch(stream, gather_kernel, shape, args);
}

}  // namespace llmcore::cuda
