// Weights as they lie on the device stand for the same values as GGUF's blocks, and embeddings are read from
// them. Runs through the emulation, and compiled by nvcc on a device.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/kernels/embed.h"
#include "cuda/packed/all.h"
#include "cuda/packed/repack.h"
#include "device_array.h"
#include "harness.h"
#include "quant/format_table.h"
#include "random_weights.h"

namespace llmcore::cuda {

namespace {

using test::DeviceArray;
using test::Random;

struct Shape {
    int64_t n, k;
};

std::vector<Shape> shapes_of(Format format) {
    const int64_t block = format_info(format).block_elements;
    std::vector<Shape> shapes = {{5, 256}, {16, 512}, {40, 256}, {33, 768}};
    if (block <= 32) shapes.push_back({17, 32 * 9});
    if (block == 1) shapes.push_back({3, 259});
    return shapes;
}

std::string describe(Format format, const Shape& shape) {
    return std::string(format_info(format).name) + " " + std::to_string(shape.n) + " x " +
           std::to_string(shape.k);
}

struct PackedWeights {
    std::vector<float> values;  // what the blocks stand for
    std::vector<uint4> tiles;
};

PackedWeights pack(Format format, const Shape& shape, const std::vector<uint8_t>& rows) {
    PackedWeights weights;
    weights.values.resize(static_cast<std::size_t>(shape.n * shape.k));
    dequantize(format, rows.data(), weights.values.data(), shape.n * shape.k);
    const int64_t bytes = packed_bytes(packing_of(format), shape.n, shape.k);
    CHECK(bytes % 16 == 0);
    weights.tiles.assign(static_cast<std::size_t>(bytes / 16), uint4{~0U, ~0U, ~0U, ~0U});
    repack_host(format, rows.data(), shape.n, shape.k, weights.tiles.data());
    return weights;
}

PackedWeights random_packed(Format format, const Shape& shape, Random& random) {
    return pack(format, shape, test::random_weights(format, shape.n, shape.k, random));
}

struct UnpackArgs {
    const unsigned char* tiles;
    float* out;  // the padded matrix
    int64_t k_tiles;
};

// A block a super-tile, a warp of which takes it apart as matrix kernels do.
template <Packing P>
SIMT_GLOBAL void SIMT_BOUNDS(kWarp, 1) unpack_codes(const UnpackArgs args) {
    using Format = Packed<P>;
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t tile = blockIdx.x;
    const unsigned char* from = args.tiles + tile * Format::kBytes;
    for (int item = 0; item < 8 * 4; ++item) {
        const int step = item / 4;
        const int part = item % 4;
        uint32_t a[4];
        Format::codes(from, lane, step, a);
        const int column = 32 * step + part / 2 * 16 + lane % 4 * 4;
        float scale[2];
        float min[2] = {0.0F, 0.0F};
        Format::scales(from, lane, column / Format::kGroup, scale, min);
        const int64_t row = tile / args.k_tiles * kTileRows + lane / 4 + part % 2 * 8;
        float* to = args.out + (row * args.k_tiles + tile % args.k_tiles) * kTileCols + column;
        for (int j = 0; j < 4; ++j) {
            const uint32_t byte = a[part] >> 8 * j & 0xFFU;
            const int code = Format::kSigned ? static_cast<int8_t>(byte) : static_cast<int>(byte);
            to[j] = __fmul_rn(scale[part % 2], static_cast<float>(code - Format::kZero));
            if (Format::kHasMin) to[j] = __fadd_rn(to[j], min[part % 2]);
            if (!Format::kSigned && byte >= 128) to[j] = __uint_as_float(0x7FC00000U);
        }
    }
}

template <Packing P>
SIMT_GLOBAL void SIMT_BOUNDS(kWarp, 1) unpack_floats(const UnpackArgs args) {
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t tile = blockIdx.x;
    for (int item = 0; item < 16 * 2; ++item) {
        const int half = item % 2;
        const uint2 bits = Packed<P>::values(args.tiles + tile * Packed<P>::kBytes, lane, item / 2, half);
        const int64_t row = tile / args.k_tiles * kTileRows + lane / 4 + half * 8;
        float* to =
            args.out + (row * args.k_tiles + tile % args.k_tiles) * kTileCols + item / 2 * 16 + lane % 4 * 4;
        to[0] = Packed<P>::to_float(static_cast<uint16_t>(bits.x & 0xFFFFU));
        to[1] = Packed<P>::to_float(static_cast<uint16_t>(bits.x >> 16));
        to[2] = Packed<P>::to_float(static_cast<uint16_t>(bits.y & 0xFFFFU));
        to[3] = Packed<P>::to_float(static_cast<uint16_t>(bits.y >> 16));
    }
}

using UnpackKernel = void (*)(UnpackArgs);

UnpackKernel unpack_kernel(Packing packing) {
    switch (packing) {
        case Packing::q4_0:
            return unpack_codes<Packing::q4_0>;
        case Packing::q4_1:
            return unpack_codes<Packing::q4_1>;
        case Packing::q5_0:
            return unpack_codes<Packing::q5_0>;
        case Packing::q5_1:
            return unpack_codes<Packing::q5_1>;
        case Packing::q8_0:
            return unpack_codes<Packing::q8_0>;
        case Packing::q4_k:
            return unpack_codes<Packing::q4_k>;
        case Packing::q5_k:
            return unpack_codes<Packing::q5_k>;
        case Packing::q6_k:
            return unpack_codes<Packing::q6_k>;
        case Packing::iq4_nl:
            return unpack_codes<Packing::iq4_nl>;
        case Packing::iq4_xs:
            return unpack_codes<Packing::iq4_xs>;
        case Packing::mxfp4:
            return unpack_codes<Packing::mxfp4>;
        case Packing::s8x16:
            return unpack_codes<Packing::s8x16>;
        case Packing::f16:
            return unpack_floats<Packing::f16>;
        case Packing::bf16:
            return unpack_floats<Packing::bf16>;
        case Packing::f32:
            break;
    }
    return nullptr;
}

// The padded matrix that super-tiles stand for.
std::vector<float> unpack(Packing packing, const std::vector<uint4>& tiles, int64_t row_tiles,
                          int64_t k_tiles) {
    std::vector<float> values(static_cast<std::size_t>(row_tiles * k_tiles * kTileRows * kTileCols));
    if (packing == Packing::f32) {
        CHECK(tiles.size() * sizeof(uint4) == values.size() * sizeof(float));
        std::memcpy(values.data(), tiles.data(), values.size() * sizeof(float));
        return values;
    }
    DeviceArray<uint4> packed(tiles);
    DeviceArray<float> out(values.size());
    const UnpackArgs args = {reinterpret_cast<const unsigned char*>(packed.data()), out.data(), k_tiles};
    launch(Stream{}, unpack_kernel(packing),
           {.grid_x = static_cast<unsigned>(row_tiles * k_tiles), .threads = kWarp}, args);
    return out.read();
}

// Equal, NaN to NaN; `tolerance` is relative to the value.
bool same(float got, float expected, float tolerance) {
    if (std::isnan(expected)) return std::isnan(got);
    return got == expected || std::fabs(got - expected) <= tolerance * std::fabs(expected);
}

void check_values(Format format, const Shape& shape, const PackedWeights& weights) {
    const Packing packing = packing_of(format);
    const int64_t row_tiles = tiles_of(shape.n, kTileRows);
    const int64_t k_tiles = tiles_of(shape.k, kTileCols);
    const std::vector<float> got = unpack(packing, weights.tiles, row_tiles, k_tiles);
    int64_t wrong = 0;
    for (int64_t row = 0; row < row_tiles * kTileRows; ++row) {
        for (int64_t column = 0; column < k_tiles * kTileCols; ++column) {
            const bool inside = row < shape.n && column < shape.k;
            const float expected =
                inside ? weights.values[static_cast<std::size_t>(row * shape.k + column)] : 0.0F;
            const float value = got[static_cast<std::size_t>(row * k_tiles * kTileCols + column)];
            if (!same(value, expected, packing == Packing::s8x16 ? 1e-6F : 0.0F)) ++wrong;
        }
    }
    CHECK_MSG(wrong == 0, describe(format, shape) << ": " << wrong << " values differ");
}

}  // namespace

LLMCORE_TEST(cuda_packed_weights_stand_for_the_same_values) {
    Random random(1);
    for (const Format format : test::weight_formats())
        for (const Shape& shape : shapes_of(format))
            check_values(format, shape, random_packed(format, shape, random));
}

LLMCORE_TEST(cuda_packed_codes_keep_every_bit) {
    Random random(2);
    for (const Format format : test::weight_formats()) {
        if (format_info(format).block_elements == 1) continue;
        for (const int byte : {0x00, 0x0F, 0xF0, 0x55, 0xAA, 0xFF}) {
            const Shape shape = {16, 256};
            const auto rows =
                test::filled_weights(format, shape.n, shape.k, static_cast<uint8_t>(byte), random);
            check_values(format, shape, pack(format, shape, rows));
        }
    }
}

LLMCORE_TEST(cuda_packed_scales_may_be_extreme) {
    Random random(3);
    const Shape shape = {32, 256};
    const uint16_t scales[] = {0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00};
    for (const Format format : test::weight_formats()) {
        const auto& info = format_info(format);
        if (info.block_elements == 1) continue;
        auto rows = test::random_weights(format, shape.n, shape.k, random);
        const bool scale_last = format == Format::Q2_K || format == Format::Q3_K || format == Format::Q6_K ||
                                format == Format::TQ1_0 || format == Format::TQ2_0;
        if (format == Format::IQ1_M) continue;  // scattered
        std::size_t turn = 0;
        const auto block = static_cast<std::size_t>(info.block_bytes);
        for (std::size_t start = 0; start < rows.size(); start += block, ++turn) {
            if (format == Format::MXFP4)
                rows[start] = static_cast<uint8_t>(turn % 256);
            else
                std::memcpy(rows.data() + start + (scale_last ? block - 2 : 0), &scales[turn % 8], 2);
        }
        check_values(format, shape, pack(format, shape, rows));
    }
}

LLMCORE_TEST(cuda_repack_on_the_device_gives_the_same_bytes) {
    Random random(4);
    for (const Format format : test::weight_formats()) {
        for (const Shape& shape : shapes_of(format)) {
            const auto rows = test::random_weights(format, shape.n, shape.k, random);
            const PackedWeights weights = pack(format, shape, rows);
            for (const std::size_t offset : {0, 2}) {
                std::vector<uint8_t> moved(rows.size() + offset);
                std::memcpy(moved.data() + offset, rows.data(), rows.size());
                DeviceArray<uint8_t> device_rows(moved);
                DeviceArray<uint4> device_tiles(weights.tiles.size());
                repack_device(Stream{}, format, device_rows.data() + offset, shape.n, shape.k,
                              device_tiles.data());
                const std::vector<uint4> tiles = device_tiles.read();
                CHECK_MSG(std::memcmp(tiles.data(), weights.tiles.data(), tiles.size() * 16) == 0,
                          describe(format, shape));
            }
        }
    }
}

LLMCORE_TEST(cuda_packed_sizes_are_those_of_gguf) {
    for (const Format format : test::weight_formats()) {
        const Packing packing = packing_of(format);
        const int64_t stored = row_bytes(format, 512) * 32;
        const int64_t packed = packed_bytes(packing, 32, 512);
        if (packing == Packing::s8x16)
            CHECK(packed == 32 * 512 * 3 / 2);
        else if (packing == Packing::iq4_xs || packing == Packing::mxfp4)
            CHECK_MSG(packed > stored && packed * 100 < stored * 107, describe(format, {32, 512}));
        else
            CHECK_MSG(packed == stored, describe(format, {32, 512}));
        CHECK(packed_bytes(packing, 17, 257) == packed);
    }
    CHECK_THROWS(ErrorCode::model, packing_of(Format::Q8_K));
}

LLMCORE_TEST(cuda_embed_rows_reads_packed_tables) {
    Random random(5);
    for (const Format format : test::weight_formats()) {
        const Packing packing = packing_of(format);
        for (const Shape& shape : shapes_of(format)) {
            const PackedWeights weights = random_packed(format, shape, random);
            const std::vector<int32_t> tokens = {static_cast<int32_t>(shape.n) - 1, 0,      1, 2, 2, -1,
                                                 static_cast<int32_t>(shape.n),     1 << 30};
            const int64_t stride = shape.k + 4;
            constexpr float kScale = 1.5F;
            constexpr float kUntouched = -77.0F;
            DeviceArray<uint4> table(weights.tiles);
            DeviceArray<int32_t> device_tokens(tokens);
            DeviceArray<float> device_out(
                std::vector<float>(tokens.size() * static_cast<std::size_t>(stride), kUntouched));
            embed_rows(Stream{}, packing, reinterpret_cast<const unsigned char*>(table.data()), shape.n,
                       shape.k, device_tokens.data(), static_cast<int32_t>(tokens.size()), kScale,
                       device_out.data(), stride);
            const std::vector<float> out = device_out.read();
            int64_t wrong = 0;
            for (std::size_t i = 0; i < out.size(); ++i) {
                const int64_t token = tokens[i / static_cast<std::size_t>(stride)];
                const auto column = static_cast<int64_t>(i) % stride;
                float expected = kUntouched;
                if (column < shape.k)
                    expected =
                        token < 0 || token >= shape.n
                            ? 0.0F
                            : kScale * weights.values[static_cast<std::size_t>(token * shape.k + column)];
                if (!same(out[i], expected, packing == Packing::s8x16 ? 1e-6F : 0.0F)) ++wrong;
            }
            CHECK_MSG(wrong == 0, describe(format, shape) << ": " << wrong << " values differ");
        }
    }
}

}  // namespace llmcore::cuda
