// CUDA's model of threads on the CPU. Each thread of a block is a fiber; blocks run one after another on the
// calling system thread (those of a cooperative launch by turns), in an order, and with an order of their
// threads, drawn from a seeded generator, so that a missing barrier gives wrong results. Misuse (lanes that
// meet in different collectives, a barrier nobody can pass, an unaligned copy) prints what is wrong and
// aborts.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cstring>
#include <functional>
#include <type_traits>

#include "cuda/emulation/cuda_words.h"

#define SIMT_GLOBAL
#define SIMT_DEVICE inline
#define SIMT_BOTH inline
#define SIMT_BOUNDS(threads, blocks)

namespace llmcore::cuda {

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};
using dim3 = Dim3;

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local Dim3 blockDim;
extern constinit thread_local Dim3 gridDim;

// Runs `body` as each thread of each block. Throws Error(internal) for a shape a device would refuse.
void emulate(Dim3 grid, unsigned threads, size_t shared_bytes, bool cooperative,
             const std::function<void()>& body);

// The order of blocks and threads of all launches from now on, on all system threads.
void set_emulation_seed(uint64_t seed);

constexpr size_t kEmulatedSharedBytes = 227 * 1024;
constexpr size_t kEmulatedMultiprocessors = 4;  // few, so that tests have several blocks on each

namespace emulation {

extern constinit thread_local unsigned char* shared_begin;
extern constinit thread_local size_t shared_bytes;

// What a lane brings to a collective, and what it gets.
struct Lane {
    uint64_t value = 0;
    uint64_t result = 0;
    int source = 0;
    const void* input = nullptr;
    void* output = nullptr;
};

// `work` is done once, by the last lane that arrives, for all the lanes in `arrived`.
struct Collective {
    const char* name;
    void (*work)(Lane* lanes, uint32_t arrived);
    bool whole_warp;
};

// Waits until all living lanes of `mask` are here; returns `result`.
uint64_t meet(const Collective& collective, uint32_t mask, const Lane& mine);

uint64_t shuffle(uint32_t mask, uint64_t bits, int source);
// Stops unless 16 bytes there are in shared memory and aligned.
void check_shared_row(const char* what, const void* row);
[[noreturn]] void stop(const char* format, ...) __attribute__((format(printf, 1, 2)));

inline int lane_id() { return static_cast<int>(threadIdx.x & 31U); }

template <class T>
T shuffle_value(uint32_t mask, T value, int source) {
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = shuffle(mask, bits, source);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace emulation

inline unsigned char* shared_memory() { return emulation::shared_begin; }

void __syncthreads();
void __syncwarp(uint32_t mask = 0xFFFFFFFFU);
uint32_t __ballot_sync(uint32_t mask, int predicate);
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0 ? 1 : 0; }
inline int __all_sync(uint32_t mask, int predicate) {
    return __ballot_sync(mask, predicate == 0 ? 1 : 0) == 0 ? 1 : 0;
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
    const int first = emulation::lane_id() & ~(width - 1);
    return emulation::shuffle_value(mask, value, first | (source & (width - 1)));
}
// In the others a lane whose source is outside its `width` lanes keeps its own value.
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask, int width = 32) {
    const int lane = emulation::lane_id();
    const int source = lane ^ lane_mask;
    return emulation::shuffle_value(mask, value, source > (lane | (width - 1)) ? lane : source);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
    const int lane = emulation::lane_id();
    const int source = lane + static_cast<int>(delta);
    return emulation::shuffle_value(mask, value, source > (lane | (width - 1)) ? lane : source);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
    const int lane = emulation::lane_id();
    const int source = lane - static_cast<int>(delta);
    return emulation::shuffle_value(mask, value, source < (lane & ~(width - 1)) ? lane : source);
}

// The bytes arrive only in the wait that covers their group, so that a missing wait shows.
void copy_async16(void* shared, const void* global, int bytes);
inline void copy_async16(void* shared, const void* global) { copy_async16(shared, global, 16); }
void copy_async_commit();
namespace emulation {
void copy_async_wait(int pending);
}
template <int Pending>
void copy_async_wait() {
    emulation::copy_async_wait(Pending);
}

void mma_s8(int32_t (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);
void mma_bf16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);
void mma_f16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);
void load_matrices(uint32_t (&d)[4], const void* shared_row);
void load_matrices_transposed(uint32_t (&d)[4], const void* shared_row);

// As bulk_copy.h has them; a barrier takes one arrival. A copy arrives at once or when it is waited for.
void barrier_init(uint64_t* barrier, int arrivals);
inline void barrier_init_done() {}
void barrier_arrive_expecting(uint64_t* barrier, int bytes);
void barrier_wait(uint64_t* barrier, uint32_t parity);
void copy_bulk(void* shared, const void* global, int bytes, uint64_t* barrier);

void arrive_at_grid(uint32_t* counter);
void wait_for_grid(const uint32_t* counter, uint32_t target);
inline void prefetch_to_l2(const void*) {}

inline void next_kernel_may_start() {}
inline void previous_kernels_done() {}

}  // namespace llmcore::cuda
