// Rotary position embedding on any Vec.
#pragma once

#include "kernels/cpu/vector_math.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool rope_supports(const Shape* shape) { return shape->head_dim > 0; }

// Cosines, then sines, of one position, each rounded up to whole vectors.
int64_t rope_table_floats(int64_t rope_dims) {
    return (rope_dims + 2 * Vec::kLanes - 1) / (2 * Vec::kLanes) * (2 * Vec::kLanes);
}

size_t rope_workspace(const Shape* shape) {
    return 2 * static_cast<size_t>(rope_table_floats(shape->head_dim)) * sizeof(float);
}

// `twice`: each value in both lanes of its pair.
void fill_rope_tables(const RopeArgs& args, int32_t position, bool twice, float* cosines, float* sines) {
    const int64_t half = args.rope_dims / 2;
    const Vec magnitude = Vec::set(args.magnitude);
    for (int64_t i = 0; i < half; i += Vec::kLanes) {
        const int64_t lanes = half - i < Vec::kLanes ? half - i : Vec::kLanes;
        const SineCosine turn = sine_cosine(angle_of(position, Vec::load_first(args.inv_freq + i, lanes)));
        if (twice) {
            (turn.cosine * magnitude).store_twice(cosines + 2 * i);
            (turn.sine * magnitude).store_twice(sines + 2 * i);
        } else {
            (turn.cosine * magnitude).store(cosines + i);
            (turn.sine * magnitude).store(sines + i);
        }
    }
}

LLMCORE_INLINE void rope_adjacent(float* x, int64_t dims, const float* cosines, const float* sines) {
    int64_t i = 0;
    for (; i + Vec::kLanes <= dims; i += Vec::kLanes) {
        turn_pairs(Vec::load(x + i), Vec::load(cosines + i), Vec::load(sines + i)).store(x + i);
    }
    if (i < dims) {
        const Vec turned =
            turn_pairs(Vec::load_first(x + i, dims - i), Vec::load(cosines + i), Vec::load(sines + i));
        turned.store_first(x + i, dims - i);
    }
}

LLMCORE_INLINE void rope_halves(float* x, int64_t half, const float* cosines, const float* sines) {
    int64_t i = 0;
    for (; i + Vec::kLanes <= half; i += Vec::kLanes) {
        const Vec a = Vec::load(x + i), b = Vec::load(x + half + i);
        const Vec c = Vec::load(cosines + i), s = Vec::load(sines + i);
        fnma(b, s, a * c).store(x + i);
        fma(a, s, b * c).store(x + half + i);
    }
    if (i < half) {
        const int64_t left = half - i;
        const Vec a = Vec::load_first(x + i, left), b = Vec::load_first(x + half + i, left);
        const Vec c = Vec::load(cosines + i), s = Vec::load(sines + i);
        fnma(b, s, a * c).store_first(x + i, left);
        fma(a, s, b * c).store_first(x + half + i, left);
    }
}

void rope_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const RopeArgs& args = *static_cast<const RopeArgs*>(base);
    if (args.style == RopeStyle::none) return;
    const bool adjacent = args.style == RopeStyle::adjacent;
    float* cosines = static_cast<float*>(workspace);
    float* sines = cosines + rope_table_floats(args.rope_dims);
    for (int64_t row = row_begin; row < row_end; ++row) {
        fill_rope_tables(args, args.positions[row], adjacent, cosines, sines);
        float* x = args.x + row * args.x_stride;
        for (int64_t head = 0; head < args.n_heads; ++head, x += args.head_dim) {
            if (adjacent) {
                rope_adjacent(x, args.rope_dims, cosines, sines);
            } else {
                rope_halves(x, args.rope_dims / 2, cosines, sines);
            }
        }
    }
}

}  // namespace
}  // namespace llmcore
