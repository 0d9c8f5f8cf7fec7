#include "cuda/kernels/rope_store.h"

#include "base/error.h"
#include "cuda/kernels/kv_q8.h"
#include "cuda/kernels/rope_turn.h"

namespace llmcore::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kPairs = 4;  // of a lane: heads of up to 256 dimensions

SIMT_DEVICE void store(const KvLayer& kv, int64_t element, float value) {
    if (kv.format == Format::F16)
        static_cast<uint16_t*>(kv.base)[element] = float_to_half_bits(value);
    else
        static_cast<float*>(kv.base)[element] = value;
}

// Writes a row of floats as codes and scales, which are those that the CPU's cache has (cache_codes.h). A
// block that holds what is not finite gets the scale NaN.
SIMT_DEVICE void store_q8(unsigned char* head, int head_dim, int token, const float* row) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    auto* scales = reinterpret_cast<uint16_t*>(head + q8_scales_at(head_dim));
    for (int span = 0; span < head_dim; span += kQ8Span) {
        const int dim = span + 4 * lane;  // eight lanes a scale
        float4 x = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
        if (dim < head_dim) x = *reinterpret_cast<const float4*>(row + dim);
        const auto magnitude = [](float value) { return __float_as_uint(value) & 0x7FFFFFFFU; };
        // As bits, what is not finite is above all else.
        uint32_t most = max(max(magnitude(x.x), magnitude(x.y)), max(magnitude(x.z), magnitude(x.w)));
#pragma unroll
        for (int distance = kQ8Block / 8; distance > 0; distance /= 2) {
            most = max(most, __shfl_xor_sync(kFullWarp, most, distance));
        }
        const float exact = most < 0x7F800000U ? __uint_as_float(most) / 127 : __uint_as_float(0x7FC00000U);
        const uint16_t scale = float_to_half_bits(exact);
        const float rounded = half_to_float(scale);
        const float inverse = rounded > 0 && rounded < INFINITY ? 1 / rounded : 0.0F;
        const auto code = [inverse](float value) {
            const float nearest = fminf(fmaxf(rintf(value * inverse), -127.0F), 127.0F);
            return static_cast<uint32_t>(static_cast<int>(nearest)) & 0xFFU;
        };
        if (dim >= head_dim) continue;
        *reinterpret_cast<uint32_t*>(head + token * head_dim + q8_code_at(head_dim, dim)) =
            code(x.x) | code(x.y) << 8 | code(x.z) << 16 | code(x.w) << 24;
        if (dim % kQ8Block == 0) scales[token * (head_dim / kQ8Block) + dim / kQ8Block] = scale;
    }
}

// A warp a head: those of q, then of k, then of v.
template <bool IsQ8>
SIMT_GLOBAL SIMT_BOUNDS(kWarps* kWarp, 1) void rope_store_kernel(RopeStoreArgs args) {
    next_kernel_may_start();
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int row = static_cast<int>(blockIdx.x);
    const int head_dim = args.kv.head_dim;
    const int n_pairs = head_dim / 2;
    const int kv_heads = args.kv.n_kv_heads;
    int head = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    const bool is_q = head < args.n_heads;
    const bool is_v = head >= args.n_heads + kv_heads;
    const int position = args.step.positions[row];
    const bool has_work = head < args.n_heads + 2 * kv_heads && position >= 0;
    if (!is_q) head = (head - args.n_heads) % kv_heads;

    const float* norm = is_v ? nullptr : is_q ? args.q_norm : args.k_norm;
    const int n_turning = is_v || args.style == RopeStyle::none ? 0 : args.rope_dims / 2;
    Turn turns[kPairs];
    float2 norms[kPairs];
    int64_t stored_at = 0;
    if (has_work) {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            const int pair = i * kWarp + lane;
            const Pair at = pair_of(args, pair, n_turning);
            turns[i] = {1.0F, 0.0F};
            norms[i] = make_float2(1.0F, 1.0F);
            if (pair < n_turning) turns[i] = turn_of(position, args.inv_freq[pair], args.magnitude);
            if (norm != nullptr && pair < n_pairs) norms[i] = make_float2(norm[at.first], norm[at.second]);
        }
        if (!is_q) {
            const int64_t table =
                static_cast<int64_t>(args.step.row_sequences[row]) * args.step.block_table_stride;
            const int block = args.step.block_table[table + position / kKvBlockTokens];
            stored_at = head_block(args.kv, block, head) + (is_v ? value_offset(args.kv) : 0);
            if constexpr (!IsQ8) stored_at += position % kKvBlockTokens * head_dim;
        }
    }
    previous_kernels_done();
    if (!has_work) return;

    const float* from = is_q   ? args.q + row * args.q_stride
                        : is_v ? args.v + row * args.v_stride
                               : args.k + row * args.k_stride;
    from += static_cast<int64_t>(head) * head_dim;
    // Codes need a whole block's maximum: the row goes through shared memory.
    [[maybe_unused]] float* shared_row =
        reinterpret_cast<float*>(shared_memory()) + static_cast<int>(threadIdx.x) / kWarp * head_dim;
    float2 values[kPairs];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
        const int pair = i * kWarp + lane;
        const Pair at = pair_of(args, pair, n_turning);
        values[i] = pair < n_pairs ? make_float2(from[at.first], from[at.second]) : make_float2(0.0F, 0.0F);
        squares += values[i].x * values[i].x + values[i].y * values[i].y;
    }
    if (norm != nullptr) {
#pragma unroll
        for (int distance = kWarp / 2; distance > 0; distance /= 2) {
            squares += __shfl_xor_sync(kFullWarp, squares, distance);
        }
        const float factor = 1.0F / sqrtf(squares / static_cast<float>(head_dim) + args.norm_eps);
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            values[i].x *= factor * norms[i].x;
            values[i].y *= factor * norms[i].y;
        }
    }
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
        const int pair = i * kWarp + lane;
        if (pair >= n_pairs) break;
        const Pair at = pair_of(args, pair, n_turning);
        const float first = values[i].x * turns[i].cosine - values[i].y * turns[i].sine;
        const float second = values[i].x * turns[i].sine + values[i].y * turns[i].cosine;
        if (is_q) {
            float* to = args.q + row * args.q_stride + static_cast<int64_t>(head) * head_dim;
            to[at.first] = first;
            to[at.second] = second;
        } else if constexpr (IsQ8) {
            shared_row[at.first] = first;
            shared_row[at.second] = second;
        } else {
            store(args.kv, stored_at + at.first, first);
            store(args.kv, stored_at + at.second, second);
        }
    }
    if constexpr (IsQ8) {
        if (is_q) return;
        __syncwarp();
        store_q8(static_cast<unsigned char*>(args.kv.base) + q8_bytes(stored_at), head_dim,
                 position % kKvBlockTokens, shared_row);
    }
}

}  // namespace

void rope_store(const Stream& stream, const RopeStoreArgs& args) {
    if (args.kv.head_dim % 2 != 0 || args.kv.head_dim > 2 * kPairs * kWarp ||
        args.rope_dims > args.kv.head_dim) {
        fail(ErrorCode::internal, "cuda",
             "rope_store: heads of an odd number of dimensions, or more than 256");
    }
    if (args.step.n_rows == 0) return;
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(args.step.n_rows);
    shape.grid_y = static_cast<unsigned>((args.n_heads + 2 * args.kv.n_kv_heads + kWarps - 1) / kWarps);
    shape.threads = kWarps * kWarp;
    if (args.kv.format == Format::Q8_0) {
        shape.shared_bytes = sizeof(float) * kWarps * static_cast<std::size_t>(args.kv.head_dim);
        launch(stream, &rope_store_kernel<true>, shape, args);
    } else {
        launch(stream, &rope_store_kernel<false>, shape, args);
    }
}

}  // namespace llmcore::cuda
