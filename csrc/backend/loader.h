// Finds the backend for a device name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "kernels/tuned_kernels.h"

namespace llmcore {

// For the CPU.
struct BackendOptions {
    int threads = 0;                             // 0: one a processor
    std::shared_ptr<ThreadPool> pool = nullptr;  // the threads of a backend that runs in turn, instead
    bool weights_in_place = false;  // matrices stay where their views' data is, which outlives the backend
    TunedKernels tuned = {};
};

struct LoadedBackend {
    std::shared_ptr<Backend> backend;
    std::string note;  // one line for people, where "auto" had to pass over what looked like a device
};

// device: "cpu", "cuda", or "auto": CUDA where its library is there and finds a device, otherwise the CPU.
// Throws Error(invalid_argument) for an unknown device, Error(model) for one that is not there.
LoadedBackend load_backend(std::string_view device, const BackendOptions& options = {});

struct CudaStatus {
    std::string library;  // its path; empty: there is none
    std::string reason;   // why the device cannot be used; empty: it can
    std::string name;
    std::int64_t total_bytes = 0;
    std::int64_t free_bytes = 0;
    int compute_capability = 0;  // 90 for 9.0
    int multiprocessors = 0;
};

// What load_backend("cuda") would find.
CudaStatus cuda_status();

}  // namespace llmcore
