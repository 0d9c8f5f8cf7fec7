// Vectors of 64 bytes by lanes, without instructions for them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace llmcore::isa_emulation {

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(64)));  // an alias would lose the attribute
};
template <class T>
using Vector = typename VectorOf<T>::type;

// The 64 bytes as lanes of T, and back.
template <class T, class V>
inline Vector<T> as(V v) {
    return (Vector<T>)v;
}

template <class T>
struct Array {
    alignas(64) T of[64 / sizeof(T)];

    Array() = default;
    template <class V>
    explicit Array(V v) {
        static_assert(sizeof(V) <= 64);
        std::memcpy(of, &v, sizeof v);
    }
    T& operator[](std::size_t i) { return of[i]; }
    const T& operator[](std::size_t i) const { return of[i]; }
    template <class V>
    V to() const {
        V v;
        std::memcpy(&v, of, sizeof v);
        return v;
    }
};

template <class T>
constexpr std::size_t kLanes = 64 / sizeof(T);

// The lanes f(0), f(1), ...
template <class T, class V, class F>
inline V generate(F f) {
    Array<T> out;
    for (std::size_t i = 0; i < sizeof(V) / sizeof(T); ++i) out[i] = static_cast<T>(f(i));
    return out.template to<V>();
}

[[noreturn]] inline void violation(const char* what) {
    std::fprintf(stderr, "[isa_emulation] %s\n", what);
    std::abort();
}

inline void require(bool holds, const char* what) {
    if (!holds) violation(what);
}

inline void require_aligned(const void* p) {
    require(reinterpret_cast<std::uintptr_t>(p) % 64 == 0, "an aligned access is not aligned to 64");
}

}  // namespace llmcore::isa_emulation
