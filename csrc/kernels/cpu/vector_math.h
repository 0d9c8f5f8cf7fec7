// Exponential, hyperbolic tangent and error function of a Vec.
#pragma once

#include "kernels/cpu/vector.h"

namespace llmcore {
namespace {

// Within 2 ulp; 0 below -105, infinity above 88.8.
LLMCORE_INLINE Vec exponential(Vec x) {
    x = min(Vec::set(89.0f), max(Vec::set(-105.0f), x));  // this order keeps what is not a number
    const Vec n = nearest_integer(x * Vec::set(1.44269504f));
    // ln 2 in two parts: the first has so few bits that n times it is exact.
    const Vec r = fnma(n, Vec::set(-2.12194440e-4f), fnma(n, Vec::set(0.693359375f), x));
    Vec series = Vec::set(1.0f / 5040);  // the next term is below 6e-9
    series = fma(series, r, Vec::set(1.0f / 720));
    series = fma(series, r, Vec::set(1.0f / 120));
    series = fma(series, r, Vec::set(1.0f / 24));
    series = fma(series, r, Vec::set(1.0f / 6));
    series = fma(series, r, Vec::set(0.5f));
    series = fma(series, r, Vec::set(1.0f));
    series = fma(series, r, Vec::set(1.0f));
    return times_power_of_two(series, n);
}

LLMCORE_INLINE Vec sigmoid(Vec x) {
    return Vec::set(1.0f) / (Vec::set(1.0f) + exponential(Vec::set(0.0f) - x));
}

// Absolute error below 2e-7.
LLMCORE_INLINE Vec hyperbolic_tangent(Vec x) {
    return Vec::set(1.0f) - Vec::set(2.0f) / (exponential(x + x) + Vec::set(1.0f));
}

// Abramowitz and Stegun, formula 7.1.26: absolute error below 2e-7.
LLMCORE_INLINE Vec error_function(Vec x) {
    const Vec one = Vec::set(1.0f);
    const Vec a = magnitude(x);
    const Vec t = one / fma(Vec::set(0.3275911f), a, one);
    Vec series = Vec::set(1.061405429f);
    series = fma(series, t, Vec::set(-1.453152027f));
    series = fma(series, t, Vec::set(1.421413741f));
    series = fma(series, t, Vec::set(-0.284496736f));
    series = fma(series, t, Vec::set(0.254829592f));
    const Vec tail = series * t * exponential(Vec::set(0.0f) - a * a);
    return with_sign_of(one - tail, x);
}

struct SineCosine {
    Vec sine, cosine;
};

// Taylor series within an eighth turn (the next terms are below 2e-9 and 4e-10), turned by whole quarters.
LLMCORE_INLINE SineCosine sine_cosine(const Angle& angle) {
    const Vec r = angle.rest;
    const Vec r2 = r * r;
    Vec sine = fma(Vec::set(1.0f / 362880), r2, Vec::set(-1.0f / 5040));
    sine = fma(sine, r2, Vec::set(1.0f / 120));
    sine = fma(sine, r2, Vec::set(-1.0f / 6));
    sine = fma(sine * r2, r, r);
    Vec cosine = fma(Vec::set(-1.0f / 3628800), r2, Vec::set(1.0f / 40320));
    cosine = fma(cosine, r2, Vec::set(-1.0f / 720));
    cosine = fma(cosine, r2, Vec::set(1.0f / 24));
    cosine = fma(cosine, r2, Vec::set(-0.5f));
    cosine = fma(cosine, r2, Vec::set(1.0f));
    return {fma(sine, angle.quarter_cosine, cosine * angle.quarter_sine),
            fnma(sine, angle.quarter_sine, cosine * angle.quarter_cosine)};
}

}  // namespace
}  // namespace llmcore
