// How the parts of a tile that several blocks made (matmul_wgmma_walk.h) are added up: the block that has its
// first columns, which are the last that it makes, takes the others' sums from the workspace, in the order of
// the blocks. Those have usually been there for long: they are the first that their blocks made.
#pragma once

#include "cuda/kernels/matmul_wgmma_walk.h"

#if defined(__CUDACC__)

namespace llmcore::cuda {

// At the start of MatmulArgs::workspace, zero between products: of each tile, how many parts are there.
constexpr int kMostSplitTiles = 8192;
constexpr int kMostSplitTokens = 128;
constexpr int kPartFloats = kWgmmaRows * kMostSplitTokens;  // half as many where there are twice the blocks

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <int Tokens>
struct TileJoin {
    static_assert(Tokens <= kMostSplitTokens);
    static constexpr int kPart = kWgmmaRows * Tokens;
    static constexpr int kGroups = Tokens / 8;  // of tokens; 4 sums a thread

    uint32_t* const there;
    float* const parts;  // of this thread, a block's kPart after those of the block before

    SIMT_DEVICE TileJoin(int tile, void* workspace, int thread)
        : there(static_cast<uint32_t*>(workspace) + tile),
          parts(reinterpret_cast<float*>(static_cast<uint32_t*>(workspace) + kMostSplitTiles) + thread * 4) {}

    SIMT_DEVICE void leave(const float (&sums)[Tokens / 2], int thread) const {
        float* const to = parts + static_cast<int64_t>(blockIdx.x) * kPart;
#pragma unroll
        for (int group = 0; group < kGroups; ++group)
            __stcg(
                reinterpret_cast<float4*>(to + group * kWgmmaMultipliers * 4),
                make_float4(sums[4 * group], sums[4 * group + 1], sums[4 * group + 2], sums[4 * group + 3]));
        named_barrier(1, kWgmmaMultipliers);
        if (thread == 0) {
            __threadfence();
            atomicAdd(there, 1U);
        }
    }

    // Adds the parts of the next `count` blocks.
    SIMT_DEVICE void take(float (&sums)[Tokens / 2], int thread, int count) const {
        constexpr int kAtOnce = Tokens == 64 || Tokens == 16 ? 2 : 1;
        if (thread == 0) {
            uint32_t now = 0;
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(there) : "memory");
            } while (now < static_cast<uint32_t>(count));
            *there = 0;
        }
        named_barrier(1, kWgmmaMultipliers);
        const float* from = parts + (static_cast<int64_t>(blockIdx.x) + 1) * kPart;
#pragma unroll 1
        for (int member = 0; member < count; member += kAtOnce, from += kAtOnce * kPart) {
            float4 values[kAtOnce][kGroups];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i)
#pragma unroll
                for (int group = 0; group < kGroups; ++group)
                    if (member + i < count)
                        values[i][group] = __ldcg(reinterpret_cast<const float4*>(
                            from + i * kPart + group * kWgmmaMultipliers * 4));
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i)
#pragma unroll
                for (int group = 0; group < kGroups; ++group)
                    if (member + i < count) {
                        sums[4 * group] += values[i][group].x, sums[4 * group + 1] += values[i][group].y;
                        sums[4 * group + 2] += values[i][group].z, sums[4 * group + 3] += values[i][group].w;
                    }
        }
    }
};

#endif

}  // namespace llmcore::cuda

#endif
