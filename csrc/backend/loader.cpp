#include "backend/loader.h"

#include <algorithm>
#include <string>

#include "backend/cpu_backend.h"
#include "base/cpu_features.h"
#include "base/error.h"

namespace llmcore {

std::shared_ptr<Backend> load_backend(std::string_view device, int threads) {
    if (threads < 0)
        fail(ErrorCode::invalid_argument, "backend", "number of threads", std::to_string(threads),
             "0 or more");
    if (device == "cuda")
        fail(ErrorCode::model, "backend", "device 'cuda' is not available: this build has no CUDA backend");
    if (device != "auto" && device != "cpu")
        fail(ErrorCode::invalid_argument, "backend", "unknown device", device, "auto, cpu or cuda");
    const int count = threads > 0 ? threads : std::max(1, available_processors());
    return std::make_shared<CpuBackend>(KernelSelector::from_environment(), count);
}

}  // namespace llmcore
