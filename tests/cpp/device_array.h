// Memory of the device in tests: filled from the host or poisoned, and read back.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device.h"

namespace llmcore::test {

template <class T>
class DeviceArray {
public:
    // Poison: NaN as floats, -1 as integers.
    explicit DeviceArray(std::size_t count) : count_(count), memory_(cuda::device_alloc(bytes())) {
        fill(0xFF);
    }
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        cuda::copy_to_device(memory_, values.data(), bytes(), {});
        cuda::wait_for({});
    }
    ~DeviceArray() { cuda::device_free(memory_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() { return static_cast<T*>(memory_); }
    void fill(int byte) { cuda::fill_device(memory_, byte, bytes(), {}); }
    std::vector<T> read() const {
        std::vector<T> values(count_);
        cuda::copy_to_host(values.data(), memory_, bytes(), {});
        cuda::wait_for({});
        return values;
    }

private:
    std::size_t bytes() const { return count_ * sizeof(T); }

    std::size_t count_;
    void* memory_;
};

}  // namespace llmcore::test
