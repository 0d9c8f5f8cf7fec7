// Seconds on the device.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "cuda/device.h"
#include "cuda/stream.h"

namespace llmcore::bench {

inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Median seconds of `body` on the stream, a graph of `repeats` of them at a time.
inline double device_seconds(const cuda::Stream& stream, int repeats, const std::function<void(int)>& body) {
    using namespace llmcore::cuda;
    body(0);
    wait_for(stream);
    begin_capture(stream);
    for (int i = 0; i < repeats; ++i) body(i);
    void* graph = end_capture(stream);
    const auto handle = static_cast<cudaStream_t>(stream.handle);
    cudaEvent_t start, stop;
    check(cudaEventCreate(&start), "event");
    check(cudaEventCreate(&stop), "event");
    std::vector<double> times;
    for (int run = 0; run < 8; ++run) {
        check(cudaEventRecord(start, handle), "event");
        launch_graph(stream, graph);
        check(cudaEventRecord(stop, handle), "event");
        wait_for(stream);
        float milliseconds = 0.0F;
        check(cudaEventElapsedTime(&milliseconds, start, stop), "event");
        if (run > 0) times.push_back(milliseconds / 1e3 / repeats);
    }
    destroy_graph(graph);
    return median(times);
}

}  // namespace llmcore::bench
