// The 16-byte pieces of super-tiles, each gathered from GGUF blocks by itself: on the device, by a thread.
#pragma once

#include "cuda/packed/all.h"
#include "quant/formats.h"

namespace llmcore::cuda {

struct RepackArgs {
    const unsigned char* rows;
    unsigned char* packed;
    int64_t row_bytes;
    int64_t n;
    int64_t k;
};

// Blocks have no alignment.
SIMT_BOTH uint32_t load4(const uint8_t* from) {
    return from[0] | static_cast<uint32_t>(from[1]) << 8 | static_cast<uint32_t>(from[2]) << 16 |
           static_cast<uint32_t>(from[3]) << 24;
}

SIMT_BOTH uint32_t pair_of(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }

// Bits 0..3 to bit 4 of four bytes.
SIMT_BOTH uint32_t spread_bits(uint32_t bits) {
    return (bits & 1U) << 4 | (bits & 2U) << 11 | (bits & 4U) << 18 | (bits & 8U) << 25;
}

// A super-tile's part of the matrix.
template <class BlockType, int kBlockElements>
struct TileSource {
    using Block = BlockType;
    static constexpr int kElements = kBlockElements;

    RepackArgs args;
    int64_t first_row, first_column;

    // Null beyond the matrix.
    SIMT_BOTH const Block* block(int row, int column) const {
        if (first_row + row >= args.n || first_column + column >= args.k) return nullptr;
        return reinterpret_cast<const Block*>(args.rows + (first_row + row) * args.row_bytes) +
               (first_column + column) / kElements;
    }
};

// Gather<P>: the source; codes(block, column): four codes from a column of the block on, one a byte;
// scale_word(source, word): four bytes of what follows the planes.
template <Packing P>
struct Gather;

SIMT_BOTH uint32_t nibbles32(const uint8_t* qs, int column) {
    return load4(qs + column % 16) >> column / 16 * 4 & 0x0F0F0F0FU;
}

// Two groups' float16 scales.
template <class Source>
SIMT_BOTH uint32_t two_scales(const Source& source, int word) {
    const auto* first = source.block(word / 4, word % 4 * 64);
    const auto* second = source.block(word / 4, word % 4 * 64 + 32);
    return pair_of(first == nullptr ? 0 : first->d, second == nullptr ? 0 : second->d);
}

template <class Source>
SIMT_BOTH uint32_t scale_and_min(const Source& source, int word) {
    const auto* block = source.block(word / 8, word % 8 * 32);
    return block == nullptr ? 0 : pair_of(block->d, block->m);
}

// Of two rows, the float16 scale of a block of 256.
template <class Source>
SIMT_BOTH uint32_t two_rows(const Source& source, int word) {
    const auto* first = source.block(2 * word, 0);
    const auto* second = source.block(2 * word + 1, 0);
    return pair_of(first == nullptr ? 0 : first->d, second == nullptr ? 0 : second->d);
}

template <class Source>
SIMT_BOTH uint32_t block_head(const Source& source, int word) {
    const auto* block = source.block(word / 4, 0);
    return block == nullptr ? 0 : load4(reinterpret_cast<const uint8_t*>(block) + word % 4 * 4);
}

template <>
struct Gather<Packing::q4_0> {
    using Source = TileSource<BlockQ4_0, 32>;
    SIMT_BOTH static uint32_t codes(const BlockQ4_0& block, int column) {
        return nibbles32(block.qs, column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return two_scales(source, word); }
};

template <>
struct Gather<Packing::q4_1> {
    using Source = TileSource<BlockQ4_1, 32>;
    SIMT_BOTH static uint32_t codes(const BlockQ4_1& block, int column) {
        return nibbles32(block.qs, column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) {
        return scale_and_min(source, word);
    }
};

template <>
struct Gather<Packing::q5_0> {
    using Source = TileSource<BlockQ5_0, 32>;
    SIMT_BOTH static uint32_t codes(const BlockQ5_0& block, int column) {
        return nibbles32(block.qs, column) | spread_bits(load4(block.qh) >> column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return two_scales(source, word); }
};

template <>
struct Gather<Packing::q5_1> {
    using Source = TileSource<BlockQ5_1, 32>;
    SIMT_BOTH static uint32_t codes(const BlockQ5_1& block, int column) {
        return nibbles32(block.qs, column) | spread_bits(load4(block.qh) >> column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) {
        return scale_and_min(source, word);
    }
};

template <>
struct Gather<Packing::q8_0> {
    using Source = TileSource<BlockQ8_0, 32>;
    SIMT_BOTH static uint32_t codes(const BlockQ8_0& block, int column) {
        return load4(reinterpret_cast<const uint8_t*>(block.qs) + column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return two_scales(source, word); }
};

template <>
struct Gather<Packing::q4_k> {
    using Source = TileSource<BlockQ4_K, 256>;
    SIMT_BOTH static uint32_t codes(const BlockQ4_K& block, int column) {
        return load4(block.qs + column / 64 * 32 + column % 32) >> column / 32 % 2 * 4 & 0x0F0F0F0FU;
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return block_head(source, word); }
};

template <>
struct Gather<Packing::q5_k> {
    using Source = TileSource<BlockQ5_K, 256>;
    SIMT_BOTH static uint32_t codes(const BlockQ5_K& block, int column) {
        const uint32_t low =
            load4(block.qs + column / 64 * 32 + column % 32) >> column / 32 % 2 * 4 & 0x0F0F0F0FU;
        return low | (load4(block.qh + column % 32) >> column / 32 & 0x01010101U) << 4;
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return block_head(source, word); }
};

template <>
struct Gather<Packing::q6_k> {
    using Source = TileSource<BlockQ6_K, 256>;
    SIMT_BOTH static uint32_t codes(const BlockQ6_K& block, int column) {
        const int quarter = column / 32 % 4;
        const uint8_t* ql = block.ql + column / 128 * 64 + quarter % 2 * 32 + column % 32;
        const uint8_t* qh = block.qh + column / 128 * 32 + column % 32;
        return (load4(ql) >> quarter / 2 * 4 & 0x0F0F0F0FU) | (load4(qh) >> quarter * 2 & 0x03030303U) << 4;
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) {
        if (word >= 64) return two_rows(source, word - 64);
        const BlockQ6_K* block = source.block(word / 4, 0);
        return block == nullptr ? 0 : load4(reinterpret_cast<const uint8_t*>(block->scales) + word % 4 * 4);
    }
};

template <>
struct Gather<Packing::iq4_nl> {
    using Source = TileSource<BlockIQ4_NL, 32>;
    SIMT_BOTH static uint32_t codes(const BlockIQ4_NL& block, int column) {
        return nibbles32(block.qs, column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) { return two_scales(source, word); }
};

template <>
struct Gather<Packing::iq4_xs> {
    using Source = TileSource<BlockIQ4_XS, 256>;
    SIMT_BOTH static uint32_t codes(const BlockIQ4_XS& block, int column) {
        return nibbles32(block.qs + column / 32 * 16, column % 32);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) {
        if (word >= 32) return two_rows(source, word - 32);
        const BlockIQ4_XS* block = source.block(word / 2, 0);
        uint32_t factors = 0;
        for (int i = 0; i < 4 && block != nullptr; ++i) {
            const int group = word % 2 * 4 + i;
            const int low = block->scales_l[group / 2] >> group % 2 * 4 & 0x0F;
            const int high = block->scales_h >> group * 2 & 3;
            factors |= static_cast<uint32_t>(((low | high << 4) - 32) & 0xFF) << 8 * i;
        }
        return factors;
    }
};

template <>
struct Gather<Packing::mxfp4> {
    using Source = TileSource<BlockMXFP4, 32>;
    SIMT_BOTH static uint32_t codes(const BlockMXFP4& block, int column) {
        return nibbles32(block.qs, column);
    }
    SIMT_BOTH static uint32_t scale_word(const Source& source, int word) {
        const BlockMXFP4* first = source.block(word / 4, word % 4 * 64);
        const BlockMXFP4* second = source.block(word / 4, word % 4 * 64 + 32);
        return pair_of(scale_bits(first), scale_bits(second));
    }
    // 2^(e - 128) as bfloat16, for 0 and 1 a subnormal one.
    SIMT_BOTH static uint16_t scale_bits(const BlockMXFP4* block) {
        if (block == nullptr) return 0;
        return static_cast<uint16_t>(block->e < 2 ? 0x20 << block->e : (block->e - 1) << 7);
    }
};

template <Packing P>
SIMT_BOTH uint32_t gather_codes(const typename Gather<P>::Source& source, int row, int column) {
    const auto* block = source.block(row, column);
    return block == nullptr ? 0 : Gather<P>::codes(*block, column % Gather<P>::Source::kElements);
}

// Bits 4 of a chunk, and bits 4 and 5 of half a chunk, of the lane's two rows.
template <Packing P>
SIMT_BOTH uint32_t gather_bits(const typename Gather<P>::Source& source, int row, int column) {
    uint32_t bits = 0;
    for (int i = 0; i < 8; ++i)
        bits |= (gather_codes<P>(source, row + i % 2 * 8, column + i / 2 * 16) >> 4 & 0x01010101U) << i;
    return bits;
}
template <Packing P>
SIMT_BOTH uint32_t gather_crumbs(const typename Gather<P>::Source& source, int row, int column) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i)
        bits |= (gather_codes<P>(source, row + i % 2 * 8, column + i / 2 * 16) >> 4 & 0x03030303U) << 2 * i;
    return bits;
}

SIMT_BOTH constexpr bool has_byte_plane(Packing packing) { return packing == Packing::q8_0; }
SIMT_BOTH constexpr bool has_bit_plane(Packing packing) {
    return packing == Packing::q5_0 || packing == Packing::q5_1 || packing == Packing::q5_k;
}
SIMT_BOTH constexpr bool has_crumb_plane(Packing packing) { return packing == Packing::q6_k; }

template <Packing P>
struct Pieces {
    static constexpr int kLowPlane = (has_byte_plane(P) ? kBytePlane : kNibblePlane) / 16;
    static constexpr int kHighPlane = (has_bit_plane(P)     ? kBitPlane
                                       : has_crumb_plane(P) ? kCrumbPlane
                                                            : 0) /
                                      16;
    static constexpr int kAll = Packed<P>::kBytes / 16;
};

template <Packing P>
SIMT_BOTH uint32_t gather_word(const typename Gather<P>::Source& source, int piece, int word) {
    using Count = Pieces<P>;
    if (piece < Count::kLowPlane) {
        const int lane = piece % 32;
        const int row = lane / 4;
        const int in_chunk = 16 * word + lane % 4 * 4;
        if constexpr (has_byte_plane(P))
            return gather_codes<P>(source, row + piece / 32 % 2 * 8, piece / 64 * 64 + in_chunk);
        const int column = piece / 32 * 64 + in_chunk;
        return (gather_codes<P>(source, row, column) & 0x0F0F0F0FU) |
               (gather_codes<P>(source, row + 8, column) & 0x0F0F0F0FU) << 4;
    }
    const int index = (piece - Count::kLowPlane) * 4 + word;
    if (piece < Count::kLowPlane + Count::kHighPlane) {
        if constexpr (has_crumb_plane(P)) {
            const int lane = index / 2 % 32;
            return gather_crumbs<P>(source, lane / 4, index / 64 * 64 + index % 2 * 32 + lane % 4 * 4);
        } else {
            const int lane = index % 32;
            return gather_bits<P>(source, lane / 4, index / 32 * 64 + lane % 4 * 4);
        }
    }
    return Gather<P>::scale_word(source, index - Count::kHighPlane * 4);
}

template <Packing P>
SIMT_BOTH uint4 gather_piece(const RepackArgs& args, int64_t tile, int piece) {
    const int64_t k_tiles = tiles_of(args.k, kTileCols);
    const typename Gather<P>::Source source = {args, tile / k_tiles * kTileRows, tile % k_tiles * kTileCols};
    return {gather_word<P>(source, piece, 0), gather_word<P>(source, piece, 1),
            gather_word<P>(source, piece, 2), gather_word<P>(source, piece, 3)};
}

SIMT_BOTH uint32_t gather_float16s(const RepackArgs& args, int64_t row, int64_t column) {
    const unsigned char* from = args.rows + row * args.row_bytes + column * 2;
    if (row >= args.n || column >= args.k) return 0;
    const uint32_t first = from[0] | static_cast<uint32_t>(from[1]) << 8;
    return column + 1 < args.k ? load4(from) : first;
}

// Two lanes' four values each, of the same row: eight columns.
template <>
SIMT_BOTH uint4 gather_piece<Packing::f16>(const RepackArgs& args, int64_t tile, int piece) {
    const int64_t k_tiles = tiles_of(args.k, kTileCols);
    const int lane = piece * 2 % 32;
    const int64_t row = tile / k_tiles * kTileRows + lane / 4 + piece / 16 % 2 * 8;
    const int64_t column = tile % k_tiles * kTileCols + piece / 32 * 16 + lane % 4 * 4;
    return {gather_float16s(args, row, column), gather_float16s(args, row, column + 2),
            gather_float16s(args, row, column + 4), gather_float16s(args, row, column + 6)};
}

// f32: a tile is a padded row.
SIMT_BOTH uint32_t gather_float32(const RepackArgs& args, int64_t row, int64_t column) {
    return row >= args.n || column >= args.k ? 0 : load4(args.rows + row * args.row_bytes + column * 4);
}
template <>
SIMT_BOTH uint4 gather_piece<Packing::f32>(const RepackArgs& args, int64_t tile, int piece) {
    const int64_t column = int64_t{piece} * 4;
    return {gather_float32(args, tile, column), gather_float32(args, tile, column + 1),
            gather_float32(args, tile, column + 2), gather_float32(args, tile, column + 3)};
}

// Tiles are what pieces are counted in: super-tiles, or with f32 padded rows.
template <Packing P>
SIMT_BOTH int64_t tile_count(int64_t n, int64_t k) {
    return tiles_of(n, kTileRows) * (P == Packing::f32 ? kTileRows : tiles_of(k, kTileCols));
}
template <Packing P>
SIMT_BOTH int pieces_of_tile(int64_t k) {
    if constexpr (P == Packing::f32)
        return static_cast<int>(tiles_of(k, kTileCols) * kTileCols / 4);
    else
        return Packed<P>::kBytes / 16;
}

template <Packing P>
struct PackingConstant {
    static constexpr Packing value = P;
};

// Calls `act` with the packing as a constant; bf16 as f16, whose bits are moved alike. False for s8x16.
template <class Act>
bool with_gathered(Packing packing, Act act) {
    switch (packing) {
        case Packing::q4_0:
            act(PackingConstant<Packing::q4_0>());
            return true;
        case Packing::q4_1:
            act(PackingConstant<Packing::q4_1>());
            return true;
        case Packing::q5_0:
            act(PackingConstant<Packing::q5_0>());
            return true;
        case Packing::q5_1:
            act(PackingConstant<Packing::q5_1>());
            return true;
        case Packing::q8_0:
            act(PackingConstant<Packing::q8_0>());
            return true;
        case Packing::q4_k:
            act(PackingConstant<Packing::q4_k>());
            return true;
        case Packing::q5_k:
            act(PackingConstant<Packing::q5_k>());
            return true;
        case Packing::q6_k:
            act(PackingConstant<Packing::q6_k>());
            return true;
        case Packing::iq4_nl:
            act(PackingConstant<Packing::iq4_nl>());
            return true;
        case Packing::iq4_xs:
            act(PackingConstant<Packing::iq4_xs>());
            return true;
        case Packing::mxfp4:
            act(PackingConstant<Packing::mxfp4>());
            return true;
        case Packing::f16:
        case Packing::bf16:
            act(PackingConstant<Packing::f16>());
            return true;
        case Packing::f32:
            act(PackingConstant<Packing::f32>());
            return true;
        case Packing::s8x16:
            break;
    }
    return false;
}

}  // namespace llmcore::cuda
