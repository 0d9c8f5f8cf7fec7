// Finds the kernel of a packing: they are compiled one a file.
#include "base/error.h"
#include "cuda/kernels/matmul.h"
#include "cuda/kernels/matmul_wgmma.h"

namespace llmcore::cuda {

#if defined(__CUDACC__)

namespace {

// Not linked: the library works, without wgmma, where the driver has no tensor maps.
decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (status != cudaSuccess) static_cast<void>(cudaGetLastError());
    if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) return nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
}

}  // namespace

bool make_input_map(CUtensorMap& map, const uint16_t* input, int64_t rows, int64_t columns, int tokens) {
    static const auto encode = tensor_map_encoder();
    if (encode == nullptr) return false;
    const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
    const cuuint64_t strides[1] = {static_cast<cuuint64_t>(columns) * 2};
    const cuuint32_t box[2] = {kWgmmaChunk, static_cast<cuuint32_t>(tokens)};
    const cuuint32_t steps[2] = {1, 1};
    return encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint16_t*>(input), sizes, strides,
                  box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#endif

template <Packing P>
void matmul_bf16_of(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                    const uint16_t* input);

#define LLMCORE_PACKINGS(use)                                                                               \
    use(q4_0) use(q4_1) use(q5_0) use(q5_1) use(q8_0) use(q4_k) use(q5_k) use(q6_k) use(iq4_nl) use(iq4_xs) \
        use(mxfp4) use(s8x16) use(f16) use(bf16)

#define LLMCORE_DECLARE(packing)                                                              \
    extern template void matmul_bf16_of<Packing::packing>(const Stream&, const DeviceLimits&, \
                                                          const MatmulArgs&, const uint16_t*);
LLMCORE_PACKINGS(LLMCORE_DECLARE)
#undef LLMCORE_DECLARE

std::size_t matmul_workspace_bytes([[maybe_unused]] const DeviceLimits& limits) {
#if defined(__CUDACC__)
    if (limits.compute_capability == 90) return wgmma_workspace_bytes(limits);
#endif
    return 0;
}

void matmul_bf16(const Stream& stream, const DeviceLimits& limits, Packing packing, const MatmulArgs& args,
                 const uint16_t* input) {
    if (args.m <= 0 || args.n_jobs <= 0) return;
    switch (packing) {
#define LLMCORE_CASE(name) \
    case Packing::name:    \
        return matmul_bf16_of<Packing::name>(stream, limits, args, input);
        LLMCORE_PACKINGS(LLMCORE_CASE)
#undef LLMCORE_CASE
        case Packing::f32:
            break;
    }
    fail(ErrorCode::internal, "cuda", "matmul_bf16 has no kernel for float32 weights");
}

}  // namespace llmcore::cuda
