// What Intel's manual says of each tile instruction (Software Developer's Manual, volume 2, TDPBF16PS and its
// neighbours). Where the processor would raise an exception, this aborts; a configuration that a kernel
// leaves behind is found by the next one's.
#include "isa_emulation/tiles.h"

#include <immintrin.h>

#include "isa_emulation/avx512_vector.h"

namespace llmcore {

using isa_emulation::require;

namespace {

constexpr int kTiles = 8;
constexpr int kRows = 16;
constexpr int kRowBytes = 64;

struct Tile {
    int rows = 0;
    int row_bytes = 0;
    alignas(64) std::uint8_t bytes[kRows][kRowBytes] = {};

    template <class T>
    T get(int row, int i) const {
        T value;
        std::memcpy(&value, bytes[row] + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
        return value;
    }
    template <class T>
    void set(int row, int i, T value) {
        std::memcpy(bytes[row] + static_cast<std::size_t>(i) * sizeof(T), &value, sizeof(T));
    }
    void clear() { std::memset(bytes, 0, sizeof bytes); }
};

struct TileState {
    bool configured = false;
    Tile tiles[kTiles];
};

thread_local TileState state;

Tile& tile_of(int index) {
    require(state.configured, "a tile is used without a configuration");
    require(index >= 0 && index < kTiles, "no such tile");
    Tile& tile = state.tiles[index];
    require(tile.rows > 0, "a tile without a shape is used");
    return tile;
}

void load(int index, const void* base, long stride) {
    Tile& tile = tile_of(index);
    tile.clear();  // what lies beyond the shape becomes zero
    for (int row = 0; row < tile.rows; ++row)
        std::memcpy(tile.bytes[row], static_cast<const char*>(base) + row * stride,
                    static_cast<std::size_t>(tile.row_bytes));
}

struct Operands {
    Tile& sum;
    const Tile& a;
    const Tile& b;

    Operands(int sum_index, int a_index, int b_index)
        : sum(tile_of(sum_index)), a(tile_of(a_index)), b(tile_of(b_index)) {
        require(sum_index != a_index && sum_index != b_index && a_index != b_index,
                "a product of tiles names one twice");
        require(a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0 && sum.row_bytes % 4 == 0,
                "a tile's row in a product is no multiple of 4 bytes");
        require(sum.rows == a.rows && sum.row_bytes == b.row_bytes && a.row_bytes / 4 == b.rows,
                "shapes of a product of tiles do not match");
    }
};

// Four bytes of a row of `a` with four of a column of `b`, added to 32 bits that wrap around.
template <class A, class B>
void multiply_bytes(int sum_index, int a_index, int b_index) {
    const Operands on(sum_index, a_index, b_index);
    for (int m = 0; m < on.sum.rows; ++m)
        for (int n = 0; n < on.sum.row_bytes / 4; ++n) {
            auto sum = on.sum.get<std::uint32_t>(m, n);
            for (int k = 0; k < on.a.row_bytes / 4; ++k)
                for (int i = 0; i < 4; ++i)
                    sum += static_cast<std::uint32_t>(static_cast<int>(on.a.get<A>(m, 4 * k + i)) *
                                                      static_cast<int>(on.b.get<B>(k, 4 * n + i)));
            on.sum.set(m, n, sum);
        }
    for (int m = on.sum.rows; m < kRows; ++m) std::memset(on.sum.bytes[m], 0, kRowBytes);
}

// Subnormals count as zero and results round to even, whatever the thread's own settings.
class TileRounding {
public:
    TileRounding() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80 | 0x8000 | 0x0040); }
    ~TileRounding() { _mm_setcsr(saved_); }
    TileRounding(const TileRounding&) = delete;

private:
    unsigned saved_;
};

}  // namespace

void _tile_loadconfig(const void* config) {
    require(!state.configured, "a kernel before this one left its tiles configured");
    std::uint8_t bytes[64];
    std::memcpy(bytes, config, sizeof bytes);
    require(bytes[0] == 1, "the palette is not 1");
    require(bytes[1] == 0, "a tile operation would start in its middle");
    for (int i = 2; i < 16; ++i) require(bytes[i] == 0, "a reserved byte of the configuration is not zero");
    for (int i = 0; i < 16; ++i) {
        const int row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8;
        const int rows = bytes[48 + i];
        require(row_bytes <= kRowBytes && rows <= kRows, "a tile is larger than 16 rows of 64 bytes");
        require((row_bytes == 0) == (rows == 0), "a tile has rows or columns, but not both");
        require(i < kTiles || rows == 0, "the configuration has more than eight tiles");
        if (i >= kTiles) continue;
        state.tiles[i].rows = rows;
        state.tiles[i].row_bytes = row_bytes;
        state.tiles[i].clear();
    }
    state.configured = true;
}

void _tile_release() { state = TileState(); }

void _tile_zero(int tile) { tile_of(tile).clear(); }

void _tile_loadd(int tile, const void* base, long stride) { load(tile, base, stride); }
void _tile_stream_loadd(int tile, const void* base, long stride) { load(tile, base, stride); }

void _tile_stored(int index, void* base, long stride) {
    const Tile& tile = tile_of(index);
    for (int row = 0; row < tile.rows; ++row)
        std::memcpy(static_cast<char*>(base) + row * stride, tile.bytes[row],
                    static_cast<std::size_t>(tile.row_bytes));
}

// Even and odd columns of a row have a sum each, which are added to each other and then to the tile's.
void _tile_dpbf16ps(int sum_index, int a_index, int b_index) {
    const Operands on(sum_index, a_index, b_index);
    const TileRounding rounding;
    const __m256i odd_half = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
    for (int m = 0; m < on.sum.rows; ++m) {
        __m256 even[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        __m256 odd[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int k = 0; k < on.a.row_bytes / 4; ++k) {
            const __m256i pair = _mm256_set1_epi32(on.a.get<int>(m, k));
            for (int half = 0; half < 2; ++half) {
                const __m256i pairs =
                    _mm256_load_si256(reinterpret_cast<const __m256i*>(on.b.bytes[k] + 32 * half));
                even[half] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)),
                                             _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)), even[half]);
                odd[half] =
                    _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(pair, odd_half)),
                                    _mm256_castsi256_ps(_mm256_and_si256(pairs, odd_half)), odd[half]);
            }
        }
        alignas(32) float total[16];
        for (int half = 0; half < 2; ++half) {
            const __m256 before = _mm256_load_ps(reinterpret_cast<const float*>(on.sum.bytes[m]) + 8 * half);
            _mm256_store_ps(total + 8 * half, _mm256_add_ps(before, _mm256_add_ps(even[half], odd[half])));
        }
        std::memcpy(on.sum.bytes[m], total, static_cast<std::size_t>(on.sum.row_bytes));
    }
    for (int m = on.sum.rows; m < kRows; ++m) std::memset(on.sum.bytes[m], 0, kRowBytes);
}

void _tile_dpbssd(int sum, int a, int b) { multiply_bytes<std::int8_t, std::int8_t>(sum, a, b); }
void _tile_dpbsud(int sum, int a, int b) { multiply_bytes<std::int8_t, std::uint8_t>(sum, a, b); }
void _tile_dpbusd(int sum, int a, int b) { multiply_bytes<std::uint8_t, std::int8_t>(sum, a, b); }
void _tile_dpbuud(int sum, int a, int b) { multiply_bytes<std::uint8_t, std::uint8_t>(sum, a, b); }

}  // namespace llmcore
