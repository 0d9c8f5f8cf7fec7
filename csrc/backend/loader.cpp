#include "backend/loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "backend/cpu_backend.h"
#include "backend/plugin_backend.h"
#include "base/cpu_features.h"
#include "base/error.h"

namespace llmcore {

namespace {

constexpr const char* kCudaLibrary = "libllmcore_cuda.so";
constexpr const char* kCudaEntry = "llmcore_backend_v1";
constexpr const char* kCudaPathVariable = "LLMCORE_CUDA_LIBRARY";

// The path that the environment names; otherwise the library beside this module or executable, if it is
// there.
std::filesystem::path cuda_library() {
    if (const char* path = std::getenv(kCudaPathVariable); path != nullptr && *path != '\0') return path;
    Dl_info self = {};
    if (dladdr(reinterpret_cast<const void*>(&cuda_library), &self) == 0 || self.dli_fname == nullptr) {
        return {};
    }
    std::error_code error;
    const auto path = std::filesystem::absolute(self.dli_fname, error).parent_path() / kCudaLibrary;
    return std::filesystem::exists(path, error) ? path : std::filesystem::path();
}

[[noreturn]] void refuse_cuda(const std::string& why) {
    fail(ErrorCode::model, "backend", "device 'cuda' is not available: " + why);
}

// The library stays loaded for good: CUDA's runtime does not survive being unloaded.
std::shared_ptr<PluginBackend> load_cuda(const std::filesystem::path& path, int threads) {
    if (path.empty()) refuse_cuda(std::string("this build has no CUDA backend (") + kCudaLibrary + ")");
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == nullptr) {
        const char* why = dlerror();
        refuse_cuda(why != nullptr ? why : path.string());
    }
    const auto entry = reinterpret_cast<llmcore_backend_v1_function>(dlsym(library, kCudaEntry));
    if (entry == nullptr) refuse_cuda(path.string() + " does not export " + kCudaEntry);
    std::array<char, 512> reason = {};
    const BackendTable* table = entry(reason.data(), static_cast<std::int64_t>(reason.size()));
    reason.back() = '\0';
    if (table == nullptr) refuse_cuda(reason.front() != '\0' ? reason.data() : "no usable device");
    return std::make_shared<PluginBackend>(*table, threads);
}

}  // namespace

LoadedBackend load_backend(std::string_view device, const BackendOptions& options) {
    if (options.threads < 0)
        fail(ErrorCode::invalid_argument, "backend", "number of threads", std::to_string(options.threads),
             "0 or more");
    if (device != "auto" && device != "cpu" && device != "cuda")
        fail(ErrorCode::invalid_argument, "backend", "unknown device", device, "auto, cpu or cuda");
    std::string note;
    if (device != "cpu") {
        const std::filesystem::path library = cuda_library();
        if (device == "cuda") return {load_cuda(library, options.threads), {}};
        try {
            if (!library.empty()) return {load_cuda(library, options.threads), {}};
        } catch (const Error& error) {
            note = std::string("using the CPU: ") + error.what();
        }
    }
    const int count = options.threads > 0 ? options.threads : available_processors();
    auto pool = options.pool != nullptr ? options.pool : std::make_shared<ThreadPool>(count);
    return {std::make_shared<CpuBackend>(KernelSelector::from_environment(options.tuned), std::move(pool),
                                         options.weights_in_place),
            std::move(note)};
}

CudaStatus cuda_status() {
    CudaStatus status;
    const std::filesystem::path library = cuda_library();
    status.library = library.string();
    try {
        const AbiInfo info = load_cuda(library, 0)->device_info();
        status.name = info.name;
        status.total_bytes = info.total_bytes;
        status.free_bytes = info.free_bytes;
        status.compute_capability = info.compute_capability;
        status.multiprocessors = info.multiprocessors;
    } catch (const Error& error) {
        status.reason = error.what();
    }
    return status;
}

}  // namespace llmcore
