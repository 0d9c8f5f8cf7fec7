#include "cuda/kernels/embed.h"

#include "cuda/packed/all.h"

namespace llmcore::cuda {

namespace {

constexpr int kThreads = 256;

struct EmbedArgs {
    const unsigned char* table;
    const int32_t* tokens;
    float* out;
    int64_t n;
    int64_t k;
    int64_t out_stride;
    float scale;
};

// Four neighbouring values, as far as there are columns.
SIMT_DEVICE void store_values(const EmbedArgs& args, float* out, int64_t column, const float (&values)[4]) {
    for (int j = 0; j < 4; ++j)
        if (column + j < args.k) out[column + j] = values[j] * args.scale;
}

// Rounded as the host's dequantization, without a fused multiply and add.
template <Packing P>
SIMT_DEVICE void store_codes(const EmbedArgs& args, float* out, int64_t column, uint32_t codes, float scale,
                             float min) {
    using Format = Packed<P>;
    float values[4];
    for (int j = 0; j < 4; ++j) {
        const uint32_t byte = codes >> 8 * j & 0xFFU;
        const int code = Format::kSigned ? static_cast<int8_t>(byte) : static_cast<int>(byte);
        values[j] = __fmul_rn(scale, static_cast<float>(code - Format::kZero));
        if constexpr (Format::kHasMin) values[j] = __fadd_rn(values[j], min);
    }
    store_values(args, out, column, values);
}

// What lane `lane`, of the row's four in fragments, has of step `step` of a super-tile, or of two slots.
template <Packing P>
SIMT_DEVICE void embed_step(const EmbedArgs& args, const unsigned char* tile, int lane, int half, int step,
                            float* out, int64_t column) {
    if constexpr (P == Packing::f16 || P == Packing::bf16) {
        for (int i = 0; i < 2; ++i) {
            const uint2 bits = Packed<P>::values(tile, lane, 2 * step + i, half);
            const float values[4] = {Packed<P>::to_float(static_cast<uint16_t>(bits.x & 0xFFFFU)),
                                     Packed<P>::to_float(static_cast<uint16_t>(bits.x >> 16)),
                                     Packed<P>::to_float(static_cast<uint16_t>(bits.y & 0xFFFFU)),
                                     Packed<P>::to_float(static_cast<uint16_t>(bits.y >> 16))};
            store_values(args, out, column + 16 * i, values);
        }
    } else {
        constexpr int kGroups = 32 / Packed<P>::kGroup;
        uint32_t a[4];
        Packed<P>::codes(tile, lane, step, a);
        for (int i = 0; i < 2; ++i) {
            float scale[2];
            float min[2] = {0.0F, 0.0F};
            Packed<P>::scales(tile, lane, step * kGroups + i * kGroups / 2, scale, min);
            store_codes<P>(args, out, column + 16 * i, half == 0 ? a[2 * i] : a[2 * i + 1],
                           half == 0 ? scale[0] : scale[1], half == 0 ? min[0] : min[1]);
        }
    }
}

template <Packing P>
SIMT_GLOBAL void SIMT_BOUNDS(kThreads, 2) embed_kernel(const EmbedArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    const int64_t row = args.tokens[blockIdx.x];
    float* out = args.out + blockIdx.x * args.out_stride;
    if (row < 0 || row >= args.n) {
        for (int64_t column = threadIdx.x; column < args.k; column += kThreads) out[column] = 0.0F;
        return;
    }
    const int64_t k_tiles = tiles_of(args.k, kTileCols);
    if constexpr (P == Packing::f32) {
        const auto* values = reinterpret_cast<const float*>(args.table) + row * k_tiles * kTileCols;
        for (int64_t column = threadIdx.x; column < args.k; column += kThreads)
            out[column] = values[column] * args.scale;
    } else {
        const unsigned char* tiles = args.table + row / kTileRows * k_tiles * Packed<P>::kBytes;
        const int g = static_cast<int>(row % 8);
        const int half = static_cast<int>(row / 8 % 2);
        for (int64_t item = threadIdx.x; item < k_tiles * 32; item += kThreads) {
            const int t = static_cast<int>(item % 4);
            const int step = static_cast<int>(item / 4 % 8);
            embed_step<P>(args, tiles + item / 32 * Packed<P>::kBytes, g * 4 + t, half, step, out,
                          item / 4 * 32 + 4 * t);
        }
    }
}

template <Packing P>
void launch_embed(const Stream& stream, std::int32_t n_rows, const EmbedArgs& args) {
    launch(stream, embed_kernel<P>, {.grid_x = static_cast<unsigned>(n_rows), .threads = kThreads}, args);
}

}  // namespace

void embed_rows(const Stream& stream, Packing packing, const unsigned char* table, std::int64_t n,
                std::int64_t k, const std::int32_t* tokens, std::int32_t n_rows, float scale, float* out,
                std::int64_t out_stride) {
    if (n_rows == 0) return;
    const EmbedArgs args = {table, tokens, out, n, k, out_stride, scale};
    switch (packing) {
        case Packing::q4_0:
            return launch_embed<Packing::q4_0>(stream, n_rows, args);
        case Packing::q4_1:
            return launch_embed<Packing::q4_1>(stream, n_rows, args);
        case Packing::q5_0:
            return launch_embed<Packing::q5_0>(stream, n_rows, args);
        case Packing::q5_1:
            return launch_embed<Packing::q5_1>(stream, n_rows, args);
        case Packing::q8_0:
            return launch_embed<Packing::q8_0>(stream, n_rows, args);
        case Packing::q4_k:
            return launch_embed<Packing::q4_k>(stream, n_rows, args);
        case Packing::q5_k:
            return launch_embed<Packing::q5_k>(stream, n_rows, args);
        case Packing::q6_k:
            return launch_embed<Packing::q6_k>(stream, n_rows, args);
        case Packing::iq4_nl:
            return launch_embed<Packing::iq4_nl>(stream, n_rows, args);
        case Packing::iq4_xs:
            return launch_embed<Packing::iq4_xs>(stream, n_rows, args);
        case Packing::mxfp4:
            return launch_embed<Packing::mxfp4>(stream, n_rows, args);
        case Packing::s8x16:
            return launch_embed<Packing::s8x16>(stream, n_rows, args);
        case Packing::f16:
            return launch_embed<Packing::f16>(stream, n_rows, args);
        case Packing::bf16:
            return launch_embed<Packing::bf16>(stream, n_rows, args);
        case Packing::f32:
            return launch_embed<Packing::f32>(stream, n_rows, args);
    }
}

}  // namespace llmcore::cuda
