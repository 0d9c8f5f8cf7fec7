// Repacking on the host: the reference of repack.cu's kernels, and the only way to s8x16.
#include "base/error.h"
#include "cuda/packed/repack.h"
#include "cuda/packed/repack_rescaled.h"
#include "cuda/packed/repack_tile.h"
#include "quant/format_table.h"

namespace llmcore::cuda {

namespace {

template <Packing P>
void gather_tiles(const RepackArgs& args) {
    auto* to = reinterpret_cast<uint4*>(args.packed);
    const int pieces = pieces_of_tile<P>(args.k);
    for (int64_t tile = 0; tile < tile_count<P>(args.n, args.k); ++tile)
        for (int piece = 0; piece < pieces; ++piece) *to++ = gather_piece<P>(args, tile, piece);
}

// `at`: the super-tile.
void store_block(const RescaledBlock& block, int row, unsigned char* at) {
    for (int word = 0; word < kTileCols / 4; ++word) {
        const int lane = row % 8 * 4 + word % 4;
        const int offset = ((word / 16 * 2 + row / 8) * 32 + lane) * 16 + word / 4 % 4 * 4;
        std::memcpy(at + offset, block.codes + 4 * word, 4);
    }
    std::memcpy(at + kBytePlane + row * 64, block.scales, 64);
    std::memcpy(at + kBytePlane + 1024 + row * 64, block.mins, 64);
}

template <class Rescale>
void rescale_rows(const RepackArgs& args) {
    using Block = typename Rescale::Expand::Block;
    constexpr int64_t kBytes = Packed<Packing::s8x16>::kBytes;
    const int64_t k_tiles = args.k / kTileCols;
    std::memset(args.packed, 0, static_cast<std::size_t>(tiles_of(args.n, kTileRows) * k_tiles * kBytes));
    for (int64_t row = 0; row < args.n; ++row) {
        const auto* blocks = reinterpret_cast<const Block*>(args.rows + row * args.row_bytes);
        for (int64_t k_tile = 0; k_tile < k_tiles; ++k_tile)
            store_block(rescaled<Rescale>(blocks[k_tile]), static_cast<int>(row % kTileRows),
                        args.packed + (row / kTileRows * k_tiles + k_tile) * kBytes);
    }
}

void repack_rescaled(Format format, const RepackArgs& args) {
    switch (format) {
        case Format::Q2_K:
            return rescale_rows<RescaleQ2_K>(args);
        case Format::Q3_K:
            return rescale_rows<RescaleQ3_K>(args);
        case Format::IQ1_S:
            return rescale_rows<RescaleIQ1_S>(args);
        case Format::IQ1_M:
            return rescale_rows<RescaleIQ1_M>(args);
        case Format::IQ2_XXS:
            return rescale_rows<RescaleIQ2_XXS>(args);
        case Format::IQ2_XS:
            return rescale_rows<RescaleIQ2<ExpandIQ2_XS>>(args);
        case Format::IQ2_S:
            return rescale_rows<RescaleIQ2<ExpandIQ2_S>>(args);
        case Format::IQ3_XXS:
            return rescale_rows<RescaleIQ3_XXS>(args);
        case Format::IQ3_S:
            return rescale_rows<RescaleIQ3_S>(args);
        case Format::TQ1_0:
            return rescale_rows<RescaleTernary<ExpandTQ1_0>>(args);
        case Format::TQ2_0:
            return rescale_rows<RescaleTernary<ExpandTQ2_0>>(args);
        default:
            fail(ErrorCode::internal, "cuda", "format has a packing but no repacking");
    }
}

}  // namespace

Packing packing_of(Format format) {
    switch (format) {
        case Format::F32:
            return Packing::f32;
        case Format::F16:
            return Packing::f16;
        case Format::BF16:
            return Packing::bf16;
        case Format::Q4_0:
            return Packing::q4_0;
        case Format::Q4_1:
            return Packing::q4_1;
        case Format::Q5_0:
            return Packing::q5_0;
        case Format::Q5_1:
            return Packing::q5_1;
        case Format::Q8_0:
            return Packing::q8_0;
        case Format::Q4_K:
            return Packing::q4_k;
        case Format::Q5_K:
            return Packing::q5_k;
        case Format::Q6_K:
            return Packing::q6_k;
        case Format::IQ4_NL:
            return Packing::iq4_nl;
        case Format::IQ4_XS:
            return Packing::iq4_xs;
        case Format::MXFP4:
            return Packing::mxfp4;
        case Format::Q2_K:
        case Format::Q3_K:
        case Format::IQ1_S:
        case Format::IQ1_M:
        case Format::IQ2_XXS:
        case Format::IQ2_XS:
        case Format::IQ2_S:
        case Format::IQ3_XXS:
        case Format::IQ3_S:
        case Format::TQ1_0:
        case Format::TQ2_0:
            return Packing::s8x16;
        default:
            fail(ErrorCode::model, "cuda", "weights of this format cannot be packed",
                 format_info(format).name, "a format that can be dequantized");
    }
}

std::int64_t packed_bytes(Packing packing, std::int64_t n, std::int64_t k) {
    std::int64_t bytes = tiles_of(n, kTileRows) * tiles_of(k, kTileCols) * Packed<Packing::s8x16>::kBytes;
    with_gathered(packing, [&](auto constant) {
        constexpr Packing kPacking = decltype(constant)::value;
        bytes = tile_count<kPacking>(n, k) * pieces_of_tile<kPacking>(k) * 16;
    });
    return bytes;
}

void repack_host(Format format, const void* rows, std::int64_t n, std::int64_t k, void* packed) {
    const RepackArgs args = {static_cast<const unsigned char*>(rows), static_cast<unsigned char*>(packed),
                             row_bytes(format, k), n, k};
    const bool gathered = with_gathered(
        packing_of(format), [&](auto constant) { gather_tiles<decltype(constant)::value>(args); });
    if (!gathered) repack_rescaled(format, args);
}

}  // namespace llmcore::cuda
