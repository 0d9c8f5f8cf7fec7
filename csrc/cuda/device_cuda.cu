// device.h over CUDA's runtime.
#include <string>

#include "base/error.h"
#include "cuda/device.h"

namespace llmcore::cuda {

namespace {

std::string mib(std::size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

cudaStream_t of(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle); }

// `request`: how much was asked for, in words.
[[noreturn]] void out_of_memory(const char* what, const std::string& request) {
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    static_cast<void>(cudaMemGetInfo(&free_bytes, &total_bytes));
    static_cast<void>(cudaGetLastError());
    fail(ErrorCode::model, "cuda", std::string("not enough device memory for ") + what, request,
         "at most " + mib(free_bytes) + ", free of " + mib(total_bytes));
}

}  // namespace

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());  // or the next call would report it again
    if (status == cudaErrorMemoryAllocation) out_of_memory(what, "more than there is");
    fail(
        ErrorCode::internal, "cuda",
        std::string(what) + " failed: " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

DeviceLimits device_limits() {
    int device = 0;
    check(cudaGetDevice(&device), "choice of the device");
    const auto attribute = [&](cudaDeviceAttr which) {
        int value = 0;
        check(cudaDeviceGetAttribute(&value, which, device), "attributes of the device");
        return value;
    };
    DeviceLimits limits;
    limits.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
    limits.compute_capability =
        10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
    limits.shared_bytes_per_block =
        static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
    limits.shared_bytes_per_multiprocessor =
        static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor));
    check(cudaMemGetInfo(&limits.free_bytes, &limits.total_bytes), "memory of the device");
    cudaDeviceProp properties = {};
    check(cudaGetDeviceProperties(&properties, device), "name of the device");
    std::string(properties.name).copy(limits.name, sizeof limits.name - 1);
    return limits;
}

void* device_alloc(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) out_of_memory("an allocation", mib(bytes));
    check(status, "allocation of memory");
    return memory;
}

void device_free(void* memory) noexcept {
    if (memory != nullptr) static_cast<void>(cudaFree(memory));
}

void copy_to_device(void* device, const void* host, std::size_t bytes, const Stream& stream) {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, of(stream)), "copy to the device");
}

void copy_to_host(void* host, const void* device, std::size_t bytes, const Stream& stream) {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, of(stream)), "copy from the device");
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(stream)), "copy on the device");
}

void fill_device(void* device, int byte, std::size_t bytes, const Stream& stream) {
    if (bytes == 0) return;
    check(cudaMemsetAsync(device, byte, bytes, of(stream)), "fill of device memory");
}

void wait_for(const Stream& stream) { check(cudaStreamSynchronize(of(stream)), "work on the device"); }

}  // namespace llmcore::cuda
