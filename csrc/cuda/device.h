// Memory, copies and launches: CUDA's runtime, or under a C++ compiler the emulation. Errors are
// llmcore::Error.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/simt.h"

namespace llmcore::cuda {

// In the order they are given, each after what the stream was given before.
struct Stream {
    void* handle = nullptr;         // cudaStream_t
    bool dependent_launch = false;  // kernels may start before the one before them ends
};

struct LaunchShape {
    unsigned grid_x = 1, grid_y = 1, grid_z = 1;
    unsigned threads = 1;
    std::size_t shared_bytes = 0;
    bool cooperative = false;  // all blocks run at once, and may wait for one another
};

struct DeviceLimits {
    int multiprocessors = 1;
    int compute_capability = 0;  // 90 for 9.0
    std::size_t shared_bytes_per_block = 0;
    std::size_t shared_bytes_per_multiprocessor = 0;
    std::size_t total_bytes = 0;
    std::size_t free_bytes = 0;
    char name[128] = {};
};

DeviceLimits device_limits();
void* device_alloc(std::size_t bytes);  // throws Error(model) if there is no memory
void device_free(void* memory) noexcept;
void copy_to_device(void* device, const void* host, std::size_t bytes, const Stream& stream);
void copy_to_host(void* host, const void* device, std::size_t bytes, const Stream& stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream);
void fill_device(void* device, int byte, std::size_t bytes, const Stream& stream);
void wait_for(const Stream& stream);

#if defined(__CUDACC__)

// Throws Error(internal) that names `what` for anything but cudaSuccess.
void check(cudaError_t status, const char* what);

template <class Args>
void launch(const Stream& stream, void (*kernel)(Args), const LaunchShape& shape, const Args& args) {
    if (shape.shared_bytes > 48 * 1024)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shape.shared_bytes)),
              "shared memory of a kernel");
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(shape.grid_x, shape.grid_y, shape.grid_z);
    config.blockDim = dim3(shape.threads);
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream.handle);
    cudaLaunchAttribute attribute = {};
    if (shape.cooperative) {
        attribute.id = cudaLaunchAttributeCooperative;
        attribute.val.cooperative = 1;
    } else {
        attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attribute.val.programmaticStreamSerializationAllowed = 1;
    }
    config.attrs = &attribute;
    config.numAttrs = stream.dependent_launch || shape.cooperative ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, args), "launch of a kernel");
}

#else

template <class Args>
void launch(const Stream&, void (*kernel)(Args), const LaunchShape& shape, const Args& args) {
    emulate({shape.grid_x, shape.grid_y, shape.grid_z}, shape.threads, shape.shared_bytes, shape.cooperative,
            [&] { kernel(args); });
}

#endif

}  // namespace llmcore::cuda
