// Barriers in shared memory and bulk copies, of compute capability 9.0 and later. A kernel that has them is
// empty for others: SIMT_BULK_COPIES says where they are.
#pragma once

#include "cuda/simt.h"

#if defined(__CUDACC__)

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define SIMT_BULK_COPIES 1

namespace llmcore::cuda {

SIMT_DEVICE uint32_t shared_address(const void* shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

SIMT_DEVICE void barrier_init(uint64_t* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                 : "memory");
}
// Makes the barriers known to the copy engine; before the threads meet.
SIMT_DEVICE void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
}
SIMT_DEVICE void barrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
SIMT_DEVICE void barrier_arrive_expecting(uint64_t* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
// Waits until the phase of this parity is complete; of a new barrier the phase before the first, parity 1,
// is.
SIMT_DEVICE void barrier_wait(uint64_t* barrier, uint32_t parity) {
    uint32_t done = 0;
    while (done == 0)
        asm volatile(
            "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, "
            "p;\n}\n"
            : "=r"(done)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
}

// Copies `bytes`, a multiple of 16, and tells the barrier.
SIMT_DEVICE void copy_bulk(void* shared, const void* global, int bytes, uint64_t* barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
            shared_address(shared)),
        "l"(global), "r"(bytes), "r"(shared_address(barrier))
        : "memory");
}

}  // namespace llmcore::cuda
#endif

#else
#define SIMT_BULK_COPIES 1
#endif
