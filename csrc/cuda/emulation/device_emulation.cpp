// device.h on the CPU: device memory is the host's, and all is done when a call returns.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "cuda/device.h"

namespace llmcore::cuda {

// Of memory in all, which stays free: what the environment says in bytes, for tests of what fits.
static std::size_t told_memory() {
    constexpr std::size_t kUsual = std::size_t{8} << 30;
    const char* told = std::getenv("LLMCORE_EMULATED_MEMORY");
    return told == nullptr ? kUsual : std::strtoull(told, nullptr, 10);
}

DeviceLimits device_limits() {
    DeviceLimits limits;
    limits.multiprocessors = static_cast<int>(kEmulatedMultiprocessors);
    limits.compute_capability = 80;
    limits.shared_bytes_per_block = kEmulatedSharedBytes;
    limits.shared_bytes_per_multiprocessor = kEmulatedSharedBytes + 1024;
    limits.total_bytes = told_memory();
    limits.free_bytes = limits.total_bytes;
    std::snprintf(limits.name, sizeof(limits.name), "emulated");
    return limits;
}

// Exactly the bytes asked for, so that the address sanitizer sees what goes beyond them.
void* device_alloc(std::size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0)
        fail(ErrorCode::model, "cuda", "no memory for " + std::to_string(bytes) + " bytes");
    // Poison (NaN), but for what is too big to touch all of.
    if (bytes != 0) std::memset(memory, 0xFF, std::min(bytes, std::size_t{16} << 20));
    return memory;
}

void device_free(void* memory) noexcept { std::free(memory); }

void copy_to_device(void* device, const void* host, std::size_t bytes, const Stream&) {
    if (bytes != 0) std::memcpy(device, host, bytes);
}

void copy_to_host(void* host, const void* device, std::size_t bytes, const Stream&) {
    if (bytes != 0) std::memcpy(host, device, bytes);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream&) {
    if (bytes != 0) std::memcpy(to, from, bytes);
}

void fill_device(void* device, int byte, std::size_t bytes, const Stream&) {
    if (bytes != 0) std::memset(device, byte, bytes);
}

void wait_for(const Stream&) {}

}  // namespace llmcore::cuda
