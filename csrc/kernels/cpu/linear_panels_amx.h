// The product of many tokens by AMX: weights are expanded to bf16, activations packed as Layout::bf16_x32.
//
// A panel is 32 rows by up to 512 columns, expanded while the tiles multiply the panel before it. Panels are
// taken so that a thread meets a megabyte of activations (512 tokens by 1024 columns), which stays in its
// second level cache, with all its rows before it goes on. Sums lie in the workspace tile by tile in the
// meantime: [panel][32 tokens], four tiles of 16 rows by 16 tokens each.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/bf16_rows_amx.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int64_t kPanelRows = 32;
constexpr int64_t kPanelColumns = 512;
constexpr int64_t kChunkColumns = 1024;
constexpr int64_t kChunkTokens = 512;
constexpr int64_t kChunkRows = 512;
constexpr int64_t kTileTokens = kBf16GroupRows;
constexpr int64_t kSumFloats = kPanelRows * kTileTokens;  // of a panel and 32 tokens
constexpr int64_t kStepsBetween = 4;                      // of 32 columns, between two parts of expanding

constexpr int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

struct alignas(64) Bf16Panel {
    uint16_t weights[kPanelRows][kPanelColumns];
};

// Which rows and columns a panel holds.
struct PanelPlace {
    int64_t row;
    int64_t column;
    int64_t columns;
};

// Expands a panel piece by piece, and asks for the bytes of the panel after it.
template <class Rows>
class PanelFiller {
public:
    PanelFiller(const LinearArgs& linear, const PanelPlace& place, int64_t row_end, int64_t ahead,
                Bf16Panel* panel)
        : linear_(linear), place_(place), row_end_(row_end), ahead_(ahead), panel_(panel) {}

    static int64_t byte_of(const LinearArgs& linear, int64_t row, int64_t column) {
        return row * linear.weight_row_bytes + column / Rows::kPieceColumns * Rows::kPieceBytes;
    }

    int64_t pieces() const { return kPanelRows * divided_up(place_.columns, Rows::kPieceColumns); }

    // The next `count` pieces, if there are so many.
    LLMCORE_INLINE void fill(int64_t count) {
        if (place_.columns == 0) return;
        for (; count > 0 && row_ < kPanelRows; --count) {
            fill_piece();
            first_ += Rows::kPieceColumns;
            if (first_ < place_.columns) continue;
            first_ = 0;
            ++row_;
        }
    }

private:
    // The last row stands in for those beyond it.
    LLMCORE_INLINE void fill_piece() {
        const int64_t source = least(place_.row + row_, row_end_ - 1);
        const uint8_t* p =
            static_cast<const uint8_t*>(linear_.weight) + byte_of(linear_, source, place_.column + first_);
        for (int64_t i = 0; i < Rows::kPieceBytes; i += 64)
            _mm_prefetch(reinterpret_cast<const char*>(p + ahead_ + i), _MM_HINT_T1);
        uint16_t* out = panel_->weights[row_] + first_;
        if (place_.columns - first_ >= Rows::kPieceColumns)
            Rows::expand(p, out);
        else
            Rows::expand_last(p, place_.columns - first_, out);
    }

    const LinearArgs& linear_;
    PanelPlace place_;
    int64_t row_end_;
    int64_t ahead_;
    Bf16Panel* panel_;
    int64_t row_ = 0;
    int64_t first_ = 0;  // column of the next piece
};

// A panel with 32 tokens; between the tiles' products, `quota` pieces of the next panel.
template <class Rows>
LLMCORE_INLINE void multiply_tile(const Bf16Panel& panel, const uint8_t* act, int64_t steps, float* sums,
                                  bool first, PanelFiller<Rows>& filler, int64_t quota) {
    constexpr int64_t kTile = 256;  // floats
    if (first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums, kTileRowBytes);
        _tile_loadd(1, sums + kTile, kTileRowBytes);
        _tile_loadd(2, sums + 2 * kTile, kTileRowBytes);
        _tile_loadd(3, sums + 3 * kTile, kTileRowBytes);
    }
    constexpr int64_t kStride = sizeof panel.weights[0];
    for (int64_t step = 0; step < steps; ++step) {
        _tile_loadd(4, panel.weights[0] + 32 * step, kStride);
        _tile_loadd(5, panel.weights[kTileRows] + 32 * step, kStride);
        // Streamed past the first level cache, which holds the panel.
        _tile_stream_loadd(6, act + step * kBf16StepBytes, kTileRowBytes);
        _tile_stream_loadd(7, act + step * kBf16StepBytes + kTileRows * kTileRowBytes, kTileRowBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        if (step % kStepsBetween == kStepsBetween - 1) filler.fill(quota);
    }
    _tile_stored(0, sums, kTileRowBytes);
    _tile_stored(1, sums + kTile, kTileRowBytes);
    _tile_stored(2, sums + 2 * kTile, kTileRowBytes);
    _tile_stored(3, sums + 3 * kTile, kTileRowBytes);
}

// Up to kChunkRows rows with up to kChunkTokens tokens.
template <class Rows>
class Bf16Product {
public:
    Bf16Product(const LinearArgs& linear, int64_t row_begin, int64_t row_end, int64_t token, int64_t tokens,
                void* workspace)
        : linear_(linear),
          row_begin_(row_begin),
          row_end_(row_end),
          token_(token),
          tokens_(tokens),
          panels_(divided_up(row_end - row_begin, kPanelRows)),
          tiles_(divided_up(tokens, kTileTokens)) {
        uint8_t* base = align_64(workspace);
        buffers_[0] = reinterpret_cast<Bf16Panel*>(base);
        buffers_[1] = buffers_[0] + 1;
        sums_ = reinterpret_cast<float*>(buffers_[0] + 2);
    }

    void run() {
        PanelPlace place = first_place();
        PanelFiller<Rows> filler = filler_of(place, buffers_[0]);
        filler.fill(filler.pieces());
        for (int current = 0; place.columns > 0; current ^= 1) {
            const PanelPlace next = place_after(place);
            multiply_panel(place, *buffers_[current], next, buffers_[current ^ 1]);
            place = next;
        }
        write_out();
    }

private:
    PanelPlace first_place() const { return {row_begin_, 0, least(linear_.k, kPanelColumns)}; }

    // All rows' panels of a chunk of columns, then the next chunk's; no columns after the last.
    PanelPlace place_after(const PanelPlace& place) const {
        const int64_t chunk = place.column / kChunkColumns * kChunkColumns;
        const int64_t chunk_end = least(chunk + kChunkColumns, linear_.k);
        PanelPlace next = {place.row, place.column + place.columns, 0};
        if (next.column >= chunk_end) {
            next.row += kPanelRows;
            next.column = chunk;
            if (next.row >= row_end_) {
                next.row = row_begin_;
                next.column = chunk_end;
            }
        }
        next.columns = least(linear_.k - next.column, kPanelColumns);
        return next;
    }

    PanelFiller<Rows> filler_of(const PanelPlace& place, Bf16Panel* panel) const {
        const PanelPlace after = place_after(place);
        using Filler = PanelFiller<Rows>;
        const int64_t ahead = Filler::byte_of(linear_, after.row, after.column) -
                              Filler::byte_of(linear_, place.row, place.column);
        return Filler(linear_, place, row_end_, ahead, panel);
    }

    void multiply_panel(const PanelPlace& place, const Bf16Panel& panel, const PanelPlace& next,
                        Bf16Panel* next_panel) {
        PanelFiller<Rows> filler = filler_of(next, next_panel);
        const int64_t steps = divided_up(place.columns, 32);
        const int64_t pauses = tiles_ * (steps / kStepsBetween);
        const int64_t quota = pauses == 0 ? 0 : divided_up(filler.pieces(), pauses);
        const auto* act = static_cast<const uint8_t*>(linear_.act) + token_ * linear_.act_row_bytes +
                          place.column / 32 * kBf16StepBytes;
        float* sums = sums_of((place.row - row_begin_) / kPanelRows, 0);
        order_memory();
        for (int64_t tile = 0; tile < tiles_; ++tile)
            multiply_tile(panel, act + tile * kTileTokens * linear_.act_row_bytes, steps,
                          sums + tile * kSumFloats, place.column == 0, filler, quota);
        filler.fill(filler.pieces());
    }

    float* sums_of(int64_t panel, int64_t tile) const { return sums_ + (panel * tiles_ + tile) * kSumFloats; }

    void write_out() const {
        for (int64_t panel = 0; panel < panels_; ++panel)
            for (int64_t tile = 0; tile < tiles_; ++tile)
                for (int64_t part = 0; part < 4; ++part)
                    write_tile(sums_of(panel, tile) + part * kTileRows * kTileRows,
                               row_begin_ + panel * kPanelRows + part / 2 * kTileRows,
                               tile * kTileTokens + part % 2 * kTileRows);
    }

    // A tile's rows are weight rows; the output's are tokens.
    void write_tile(const float* sums, int64_t row, int64_t token) const {
        if (row >= row_end_ || token >= tokens_) return;
        __m512i lines[kTileRows];
        for (int64_t i = 0; i < kTileRows; ++i) lines[i] = _mm512_load_si512(sums + i * kTileRows);
        transpose_16x16(lines);
        const int64_t rows = least(row_end_ - row, kTileRows);
        const auto wanted = static_cast<__mmask16>((1U << rows) - 1);
        float* out = linear_.out + (token_ + token) * linear_.out_stride + row - linear_.out_offset;
        const int64_t tokens = least(tokens_ - token, kTileRows);
        for (int64_t i = 0; i < tokens; ++i)
            _mm512_mask_storeu_ps(out + i * linear_.out_stride, wanted, _mm512_castsi512_ps(lines[i]));
    }

    const LinearArgs& linear_;
    int64_t row_begin_, row_end_, token_, tokens_;
    int64_t panels_;  // of rows
    int64_t tiles_;   // of 32 tokens
    Bf16Panel* buffers_[2];
    float* sums_;
};

template <class Rows>
void run_bf16(const Args* args, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    const TileScope scope;
    const int64_t parts = divided_up(row_end - row_begin, kChunkRows);
    const int64_t rows =
        parts == 0 ? 0 : divided_up(divided_up(row_end - row_begin, parts), kPanelRows) * kPanelRows;
    for (int64_t row = row_begin; row < row_end; row += rows)
        for (int64_t token = 0; token < linear.m; token += kChunkTokens)
            Bf16Product<Rows>(linear, row, least(row + rows, row_end), token,
                              least(linear.m - token, kChunkTokens), workspace)
                .run();
}

template <class Rows>
bool supports_bf16(const Shape* shape) {
    return shape->k > 0 && shape->k % Rows::kBlockColumns == 0 && !shape->gathered;
}

inline size_t workspace_bf16(const Shape* shape) {
    const int64_t panels = divided_up(least(shape->n, kChunkRows), kPanelRows);
    const int64_t tiles = divided_up(least(shape->m, kChunkTokens), kTileTokens);
    return 2 * sizeof(Bf16Panel) + static_cast<size_t>(panels * tiles * kSumFloats) * sizeof(float) + 64;
}

// Fitted to prototypes on one core of 3.5 GHz: expanding a weight, and its products with 32 tokens at a time.
// The AVX-512 kernels are as fast at about 48 tokens.
inline double cost_bf16(const Shape* shape) {
    const double weights = static_cast<double>(shape->n) * static_cast<double>(shape->k);
    const int64_t tokens = divided_up(shape->m, kTileTokens) * kTileTokens;
    return weights * (0.1 + 0.0013 * static_cast<double>(tokens));
}

template <class Rows>
constexpr Kernel bf16_linear(const char* name) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = Rows::kFormat,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::bf16_x32,
            .out_layout = Layout::f32,
            .isa = Isa::amx,
            .supports = supports_bf16<Rows>,
            .cost = cost_bf16,
            .workspace_bytes = workspace_bf16,
            .run = run_bf16<Rows>};
}

}  // namespace
}  // namespace llmcore
