// The words kernels are written in. Under nvcc they are CUDA's; under a C++ compiler
// emulation/simt_emulation.h gives them a meaning on the CPU, so that the same source is tested without a
// GPU. Kernels use dynamic shared memory only (shared_memory()), 16-bit floats as bits, and one POD argument.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define SIMT_GLOBAL __global__
#define SIMT_DEVICE __device__ __forceinline__
#define SIMT_BOTH __host__ __device__ __forceinline__
#define SIMT_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)

namespace llmcore::cuda {

// The block's dynamic shared memory, aligned to 1024 bytes where the kernel's launch asked for any.
SIMT_DEVICE unsigned char* shared_memory() {
    extern __shared__ __align__(1024) unsigned char simt_dynamic_shared[];
    return simt_dynamic_shared;
}

SIMT_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
SIMT_DEVICE uint16_t float_to_half_bits(float value) { return __half_as_ushort(__float2half_rn(value)); }
SIMT_DEVICE float bf16_to_float(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }
SIMT_DEVICE uint16_t float_to_bf16(float value) { return __bfloat16_as_ushort(__float2bfloat16_rn(value)); }

// Two bf16 in a word, the first in its low half.
SIMT_DEVICE __nv_bfloat162 as_bf16x2(uint32_t bits) { return *reinterpret_cast<__nv_bfloat162*>(&bits); }
SIMT_DEVICE uint32_t bits_of(__nv_bfloat162 pair) { return *reinterpret_cast<uint32_t*>(&pair); }
SIMT_DEVICE uint32_t pack_bf16x2(float low, float high) { return bits_of(__floats2bfloat162_rn(low, high)); }
SIMT_DEVICE uint32_t bf16x2_sub(uint32_t a, uint32_t b) {
    return bits_of(__hsub2(as_bf16x2(a), as_bf16x2(b)));
}
SIMT_DEVICE uint32_t bf16x2_mul(uint32_t a, uint32_t b) {
    return bits_of(__hmul2(as_bf16x2(a), as_bf16x2(b)));
}
SIMT_DEVICE uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c) {
    return bits_of(__hfma2(as_bf16x2(a), as_bf16x2(b), as_bf16x2(c)));
}

// Copies 16 bytes to shared memory without waiting; both ends aligned to 16. `bytes` below 16: the rest is 0.
SIMT_DEVICE void copy_async16(void* shared, const void* global) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
SIMT_DEVICE void copy_async16(void* shared, const void* global, int bytes) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
                 : "memory");
}
SIMT_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `Pending` of this thread's committed groups are under way.
template <int Pending>
SIMT_DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// d += a b: a is 16 x 32 int8 (row), b 32 x 8 int8 (column); fragments as in the PTX manual, m16n8k32.
SIMT_DEVICE void mma_s8(int32_t (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                        uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// d += a b: a is 16 x 16 bf16 (row), b 16 x 8 bf16 (column); m16n8k16.
SIMT_DEVICE void mma_bf16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                          uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// As mma_bf16, with f16 operands.
SIMT_DEVICE void mma_f16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                         uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// Four 8 x 8 matrices of 16-bit elements; lane 8 i + r gives the address of row r of matrix i.
SIMT_DEVICE void load_matrices(uint32_t (&d)[4], const void* shared_row) {
    const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(from)
                 : "memory");
}
SIMT_DEVICE void load_matrices_transposed(uint32_t (&d)[4], const void* shared_row) {
    const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(from)
                 : "memory");
}

// The blocks of a cooperative launch meet at a counter that only grows: what was written before the arrival
// is seen by who waited. One thread a block, between two __syncthreads().
SIMT_DEVICE void arrive_at_grid(uint32_t* counter) {
    __threadfence();
    atomicAdd(counter, 1U);
}
SIMT_DEVICE void wait_for_grid(const uint32_t* counter, uint32_t target) {
    uint32_t arrived = 0;
    do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(counter) : "memory");
    } while (static_cast<int32_t>(arrived - target) < 0);
    __threadfence();
}
SIMT_DEVICE void prefetch_to_l2(const void* global) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

// Programmatic dependent launch: the next kernel may start; what earlier kernels wrote may be read. Every
// kernel of a step calls previous_kernels_done() before it reads or writes what another kernel of the step
// touches.
SIMT_DEVICE void next_kernel_may_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
SIMT_DEVICE void previous_kernels_done() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace llmcore::cuda

#else
#include "cuda/emulation/simt_emulation.h"
#endif

namespace llmcore::cuda {

constexpr uint32_t kFullWarp = 0xFFFFFFFFU;
constexpr int kWarp = 32;

}  // namespace llmcore::cuda
