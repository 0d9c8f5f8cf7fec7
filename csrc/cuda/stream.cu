#include "cuda/stream.h"

#include <cstdlib>
#include <string>

#include "base/error.h"

namespace llmcore::cuda {

#if defined(__CUDACC__)

namespace {

__global__ void probe_kernel() {}

cudaStream_t of(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle); }

}  // namespace

std::string why_no_device() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    static_cast<void>(cudaGetLastError());
    if (status != cudaSuccess)
        return std::string("no usable NVIDIA driver or device: ") + cudaGetErrorString(status);
    if (count == 0) return "no NVIDIA device";
    const int capability = device_limits().compute_capability;
    cudaFuncAttributes attributes = {};
    const bool runs = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
    static_cast<void>(cudaGetLastError());
    if (!runs)
        return "this build has no code for devices of compute capability " + std::to_string(capability / 10) +
               "." + std::to_string(capability % 10);
    return "";
}

void use_device(int device) { check(cudaSetDevice(device), "choice of the device"); }

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    // Off by environment: what it hides can then be told from what it breaks.
    const char* setting = std::getenv("LLMCORE_CUDA_PDL");
    const bool wanted = setting == nullptr || std::string(setting) != "0";
    return {.handle = stream, .dependent_launch = wanted && device_limits().compute_capability >= 90};
}

void destroy_stream(const Stream& stream) noexcept { cudaStreamDestroy(of(stream)); }

void* host_alloc(std::size_t bytes) {
    void* memory = nullptr;
    if (cudaMallocHost(&memory, bytes) != cudaSuccess)
        fail(ErrorCode::model, "cuda", "no page-locked memory", std::to_string(bytes) + " bytes",
             "free memory");
    return memory;
}

void host_free(void* memory) noexcept {
    if (memory != nullptr) static_cast<void>(cudaFreeHost(memory));
}

bool graphs_available() {
    const char* setting = std::getenv("LLMCORE_CUDA_GRAPHS");
    return setting == nullptr || std::string(setting) != "0";
}

void begin_capture(const Stream& stream) {
    check(cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeThreadLocal), "start of a graph");
}

void* end_capture(const Stream& stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(of(stream), &graph), "end of a graph");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "a graph");
    return executable;
}

void abandon_capture(const Stream& stream) noexcept {
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(of(stream), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    static_cast<void>(cudaGetLastError());
}

void launch_graph(const Stream& stream, void* executable) {
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable), of(stream)), "launch of a graph");
}

void destroy_graph(void* executable) noexcept {
    if (executable != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable));
}

#else

std::string why_no_device() { return ""; }
void use_device(int) {}
Stream make_stream() { return {}; }
void destroy_stream(const Stream&) noexcept {}
void* host_alloc(std::size_t bytes) { return device_alloc(bytes); }
void host_free(void* memory) noexcept { device_free(memory); }
bool graphs_available() { return false; }
void begin_capture(const Stream&) { fail(ErrorCode::internal, "cuda", "no graphs here"); }
void* end_capture(const Stream&) { fail(ErrorCode::internal, "cuda", "no graphs here"); }
void abandon_capture(const Stream&) noexcept {}
void launch_graph(const Stream&, void*) { fail(ErrorCode::internal, "cuda", "no graphs here"); }
void destroy_graph(void*) noexcept {}

#endif

}  // namespace llmcore::cuda
