// The product of the formats with superblocks of 256 and activations packed as q8_32.
//
// A format says how a superblock unpacks to unsigned bytes and integer scales, so that a weight is
// d * scale * byte - dmin * minimum. A superblock is 16 units of 16 weights; a format may leave them in the
// order that unpacking makes (kUnits), and the activations follow. Loops: as in linear_q8x32_avx512.h.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/token_tiles_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// Activations of a superblock: values in the order of kUnits, the scale of each value's lane, and scale * sum
// of each unit in order.
struct alignas(64) SuperActivations {
    int8_t q[256];
    float d[4][16];
    float dsum[16];
};

constexpr int64_t kPanelSupers = 2;
constexpr int64_t kPanelColumns = kPanelSupers * kSuper;
constexpr int kRowTokens = 6;  // the activations of more would not stay in the first level cache

// For bytes[i]: the unit of each 16-bit and of each 32-bit lane, and the 32 columns that the latter belong
// to.
struct UnitLanes {
    alignas(64) uint16_t words[4][32];
    alignas(64) uint32_t dwords[4][16];
    alignas(64) uint32_t blocks[4][16];
};

constexpr UnitLanes unit_lanes(const uint8_t (&units)[16]) {
    UnitLanes lanes = {};
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 32; ++j) lanes.words[i][j] = units[4 * i + j / 8];
        for (int j = 0; j < 16; ++j) lanes.dwords[i][j] = units[4 * i + j / 4];
        for (int j = 0; j < 16; ++j) lanes.blocks[i][j] = lanes.dwords[i][j] / 2;
    }
    return lanes;
}

template <class F>
struct Lanes {
    static constexpr UnitLanes kLanes = unit_lanes(F::kUnits);
};

template <class F>
void arrange_token(const uint8_t* row, const Q8x32Layout& layout, int64_t k, SuperActivations* out,
                   int64_t step) {
    const float* d = reinterpret_cast<const float*>(row + layout.d_offset);
    const uint8_t* sums = row + layout.sums_offset;
    const __m512i unit_blocks = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    for (int64_t s = 0; s < k / kSuper; ++s, out += step) {
        for (int i = 0; i < 16; ++i)
            _mm_store_si128(reinterpret_cast<__m128i*>(out->q + 16 * i),
                            load_16_bytes(row + s * kSuper + 16 * F::kUnits[i]));
        const __m512 scales = _mm512_castps256_ps512(_mm256_loadu_ps(d + 8 * s));
        for (int i = 0; i < 4; ++i) {
            const __m512i blocks = _mm512_load_si512(Lanes<F>::kLanes.blocks[i]);
            _mm512_store_ps(out->d[i], _mm512_permutexvar_ps(blocks, scales));
        }
        _mm512_store_ps(out->dsum, _mm512_mul_ps(to_floats(load_32_bytes(sums + 32 * s)),
                                                 _mm512_permutexvar_ps(unit_blocks, scales)));
    }
}

// A superblock ready for several tokens: the scales in the lanes of their bytes.
template <class F>
struct SpreadSuperblock {
    __m512i bytes[4];
    __m512i scales[4];  // int16, or float with d in them where two products exceed 16 bits (kWide)
    __m512 minimums;    // float, with -dmin
    __m512 d;

    [[gnu::always_inline]] explicit SpreadSuperblock(const uint8_t* p) {
        const Superblock w = F::unpack(p);
        d = _mm512_set1_ps(w.d);
        minimums = _mm512_mul_ps(to_floats(w.minimums), _mm512_set1_ps(-w.dmin));
        const UnitLanes& lanes = Lanes<F>::kLanes;
        const __m512i words = _mm512_zextsi256_si512(w.scales);
        const __m512 floats = F::kWide ? _mm512_mul_ps(to_floats(w.scales), d) : _mm512_setzero_ps();
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            bytes[i] = w.bytes[i];
            if constexpr (F::kWide)
                scales[i] =
                    _mm512_castps_si512(_mm512_permutexvar_ps(_mm512_load_si512(lanes.dwords[i]), floats));
            else
                scales[i] = _mm512_permutexvar_epi16(_mm512_load_si512(lanes.words[i]), words);
        }
    }

    [[gnu::always_inline]] __m512 add_product(const SuperActivations& act, __m512 sum) const {
        __m512 dots = _mm512_setzero_ps();
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const __m512i q = _mm512_load_si512(act.q + 64 * i);
            if constexpr (F::kWide) {
                const __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), bytes[i], q);
                const __m512 scale = _mm512_mul_ps(_mm512_castsi512_ps(scales[i]), _mm512_load_ps(act.d[i]));
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sum);
            } else {
                const __m512i pairs = _mm512_maddubs_epi16(bytes[i], q);
                const __m512i dot = _mm512_dpwssd_epi32(_mm512_setzero_si512(), pairs, scales[i]);
                dots = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_load_ps(act.d[i]), dots);
            }
        }
        if constexpr (!F::kWide) sum = _mm512_fmadd_ps(dots, d, sum);
        return _mm512_fmadd_ps(minimums, _mm512_load_ps(act.dsum), sum);
    }
};

// Rows [begin, end) for all of kTokens tokens.
template <class F, int kTokens>
void few_tokens(const LinearArgs& linear, int64_t begin, int64_t end, void* workspace) {
    const Q8x32Layout layout = q8x32_layout(linear.k);
    auto* acts = reinterpret_cast<SuperActivations*>(align_64(workspace));  // [superblock][token]
    for (int t = 0; t < kTokens; ++t) {
        const uint8_t* row = static_cast<const uint8_t*>(linear.act) + t * linear.act_row_bytes;
        arrange_token<F>(row, layout, linear.k, acts + t, kTokens);
    }
    const int64_t n_supers = linear.k / kSuper;
    float* out = linear.out - linear.out_offset;
    for (int64_t row = begin; row < end; ++row) {
        const uint8_t* p = static_cast<const uint8_t*>(linear.weight) + row * linear.weight_row_bytes;
        const SuperActivations* act = acts;
        __m512 sums[kTokens];
        for (__m512& sum : sums) sum = _mm512_setzero_ps();
        for (int64_t s = 0; s < n_supers; ++s, p += F::kBlockBytes, act += kTokens) {
            prefetch_ahead<F::kBlockBytes>(p);
            const SpreadSuperblock<F> w(p);
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) sums[t] = w.add_product(act[t], sums[t]);
        }
        for (int t = 0; t < kTokens; ++t) out[t * linear.out_stride + row] = _mm512_reduce_add_ps(sums[t]);
    }
}

// kGroups x 16 rows, a lane a row, columns in order.
template <int kGroups>
struct alignas(64) Panel256 {
    __m512i weights[kPanelColumns / 4][kGroups];
    __m512 scales[kPanelColumns / 16][kGroups];     // with d
    __m512i minimums[kPanelColumns / 32][kGroups];  // int16 of two units; float, with dmin, where they agree
    __m512 dmin[kPanelSupers][kGroups];
};

// Both units of 32 columns have one scale, and one minimum.
template <class F>
constexpr bool kPaired = F::kScaleColumns == 32;

// The next panel's bytes lie `next` further.
template <class F, int kGroups>
void fill_panel(const uint8_t* const* rows, int64_t columns, int64_t next, int group,
                Panel256<kGroups>* panel) {
    for (int64_t s = 0; s < columns / kSuper; ++s) {
        __m512i bytes[4][16];
        __m512i scales[16];
        __m512i minimums[16];
        for (int r = 0; r < 16; ++r) {
            const uint8_t* p = rows[r] + s * F::kBlockBytes;
            prefetch_panel_row(p + next, F::kBlockBytes);
            const Superblock w = F::unpack(p);
            for (int i = 0; i < 4; ++i) bytes[i][r] = w.bytes[i];
            scales[r] = _mm512_castps_si512(_mm512_mul_ps(to_floats(w.scales), _mm512_set1_ps(w.d)));
            const __m512 dmin = _mm512_set1_ps(w.dmin);
            minimums[r] = kPaired<F> ? _mm512_castps_si512(_mm512_mul_ps(to_floats(w.minimums), dmin))
                                     : _mm512_inserti64x4(_mm512_castps_si512(dmin), w.minimums, 0);
        }
        for (int i = 0; i < 4; ++i) {
            transpose_16x16(bytes[i]);
            for (int j = 0; j < 16; ++j)
                panel->weights[s * 64 + F::kUnits[4 * i + j / 4] * 4 + j % 4][group] = bytes[i][j];
        }
        transpose_16x16(scales);
        for (int i = 0; i < 16; ++i) panel->scales[s * 16 + i][group] = _mm512_castsi512_ps(scales[i]);
        transpose_16x16(minimums);
        for (int i = 0; i < 8; ++i) panel->minimums[s * 8 + i][group] = minimums[kPaired<F> ? 2 * i : i];
        if constexpr (!kPaired<F>) panel->dmin[s][group] = _mm512_castsi512_ps(minimums[8]);
    }
}

// dots[t][g] += the panel's vectors against the four bytes of each token that `act` and multiples of 4 behind
// it hold.
template <int kSteps, int kTokens, int kGroups>
[[gnu::always_inline]] inline void add_bytes(const __m512i (*weights)[kGroups], const uint8_t* act,
                                             int64_t stride, __m512i (&dots)[kTokens][kGroups]) {
#pragma GCC unroll 8
    for (int i = 0; i < kSteps; ++i)
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const __m512i a = _mm512_set1_epi32(static_cast<int32_t>(load_u32(act + t * stride + 4 * i)));
#pragma GCC unroll 2
            for (int g = 0; g < kGroups; ++g) dots[t][g] = _mm512_dpbusd_epi32(dots[t][g], weights[i][g], a);
        }
}

template <int kTokens, int kGroups>
[[gnu::always_inline]] inline void clear(__m512i (&dots)[kTokens][kGroups]) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) dots[t][g] = _mm512_setzero_si512();
}

inline __m512 broadcast_float(const uint8_t* p) { return _mm512_set1_ps(*reinterpret_cast<const float*>(p)); }

// Adds a panel's product to `out` (or begins with it), for kTokens tokens whose activations begin at
// tile.act; the sums of their values lie at unit_sums.
template <class F, int kGroups, int kTokens>
void panel_tokens(const Panel256<kGroups>& panel, const PanelTile& tile, const uint8_t* unit_sums) {
    constexpr int kUnitsOfScale = F::kScaleColumns / 16;
    __m512 sums[kTokens][kGroups];
    __m512 parts[kTokens][kGroups];
    __m512i dots[kTokens][kGroups];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) sums[t][g] = tile.first ? _mm512_setzero_ps() : tile.read(t, g);
    for (int64_t block = 0; block < tile.columns / 32; ++block) {
        const uint8_t* q = tile.act + block * 32;
#pragma GCC unroll 2
        for (int unit = 0; unit < 2; unit += kUnitsOfScale) {
            clear(dots);
            add_bytes<F::kScaleColumns / 4, kTokens, kGroups>(panel.weights + block * 8 + unit * 4,
                                                              q + unit * 16, tile.act_row_bytes, dots);
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
                for (int g = 0; g < kGroups; ++g) {
                    const __m512 dot = _mm512_cvtepi32_ps(dots[t][g]);
                    const __m512 scale = panel.scales[block * 2 + unit][g];
                    parts[t][g] =
                        unit == 0 ? _mm512_mul_ps(dot, scale) : _mm512_fmadd_ps(dot, scale, parts[t][g]);
                }
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const uint8_t* scale = tile.scales + block * 4 + t * tile.act_row_bytes;
            const __m512 d = broadcast_float(scale);
#pragma GCC unroll 2
            for (int g = 0; g < kGroups; ++g) {
                const __m512i minimum = panel.minimums[block][g];
                if constexpr (kPaired<F>) {
                    sums[t][g] = _mm512_fmadd_ps(parts[t][g], d, sums[t][g]);
                    sums[t][g] = _mm512_fnmadd_ps(_mm512_castsi512_ps(minimum),
                                                  broadcast_float(scale + tile.sums_distance), sums[t][g]);
                } else {
                    const auto pair =
                        static_cast<int32_t>(load_u32(unit_sums + t * tile.act_row_bytes + block * 4));
                    const __m512i below =
                        _mm512_dpwssd_epi32(_mm512_setzero_si512(), minimum, _mm512_set1_epi32(pair));
                    const __m512 part =
                        _mm512_fnmadd_ps(_mm512_cvtepi32_ps(below), panel.dmin[block / 8][g], parts[t][g]);
                    sums[t][g] = _mm512_fmadd_ps(part, d, sums[t][g]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) tile.store(t, g, sums[t][g]);
}

// All tokens for up to kGroups x 16 rows that start at `begin`.
template <class F, int kGroups>
void many_tokens(const LinearArgs& linear, int64_t begin, int64_t end, void* workspace) {
    const Q8x32Layout layout = q8x32_layout(linear.k);
    auto& panel = *reinterpret_cast<Panel256<kGroups>*>(align_64(workspace));
    for (int64_t first = 0; first < linear.k; first += kPanelColumns) {
        const int64_t columns = linear.k - first < kPanelColumns ? linear.k - first : kPanelColumns;
        const int64_t super = first / kSuper;
        const int64_t offset = super * F::kBlockBytes;
        const int64_t next = next_panel_distance(linear, offset, columns / kSuper * F::kBlockBytes, kGroups);
        for (int g = 0; g < kGroups; ++g) {
            const uint8_t* rows[16];
            panel_rows(linear, begin + 16 * g, end, offset, rows);
            fill_panel<F, kGroups>(rows, columns, next, g, &panel);
        }
        PanelTile tile(linear, begin, end, first, columns);
        tile.sums_distance = layout.dsum_offset - layout.d_offset;
        for_token_tiles(linear.m, [&](int64_t token, auto count) {
            tile.move_to(linear, token);
            tile.act = static_cast<const uint8_t*>(linear.act) + token * linear.act_row_bytes + first;
            const uint8_t* row = tile.act - first;
            tile.scales = row + layout.d_offset + super * 32;
            panel_tokens<F, kGroups, decltype(count)::value>(panel, tile,
                                                             row + layout.sums_offset + super * 32);
        });
    }
}

template <class F>
void run_q8x256(const Args* args, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    if (linear.m <= kRowTokens) {
        dispatch_tokens<kRowTokens>(linear.m, [&](auto count) {
            few_tokens<F, decltype(count)::value>(linear, row_begin, row_end, workspace);
        });
        return;
    }
    for_row_panels(row_begin, row_end, [&](int64_t row, auto groups) {
        many_tokens<F, decltype(groups)::value>(linear, row, row_end, workspace);
    });
}

inline bool supports_q8x256(const Shape* shape) { return shape->k > 0 && shape->k % kSuper == 0; }

inline size_t workspace_q8x256(const Shape* shape) {
    if (shape->m > kRowTokens) return sizeof(Panel256<2>) + 64;
    return static_cast<size_t>(shape->k / kSuper * shape->m) * sizeof(SuperActivations) + 64;
}

template <class F>
double cost_q8x256(const Shape* shape) {
    return linear_cost(shape, static_cast<double>(F::kBlockBytes) / static_cast<double>(kSuper), 250.0);
}

template <class F>
constexpr Kernel q8x256_linear(const char* name) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = F::kFormat,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::q8_32,
            .out_layout = Layout::f32,
            .isa = Isa::avx512,
            .supports = supports_q8x256,
            .cost = cost_q8x256<F>,
            .workspace_bytes = workspace_q8x256,
            .run = run_q8x256<F>};
}

}  // namespace
}  // namespace llmcore
