// Carries outputs from the engine's thread to one consumer: all of a step at once, with one signal.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine/output.h"

namespace llmcore {

class OutputQueue {
public:
    OutputQueue();
    ~OutputQueue();
    OutputQueue(const OutputQueue&) = delete;
    OutputQueue& operator=(const OutputQueue&) = delete;

    // Becomes readable when outputs arrive, and stays so until drain.
    int fd() const { return fd_; }

    // Moves `outputs` in and leaves it empty.
    void push(std::vector<Output>& outputs);
    // Everything queued, in order; never waits.
    std::vector<Output> drain();
    // As drain, but waits for outputs: at most `seconds`, and not once the queue is closed.
    std::vector<Output> wait(double seconds);
    // No more outputs will come.
    void close();

private:
    std::vector<Output> take();

    int fd_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::vector<Output> queued_;
    bool closed_ = false;
};

}  // namespace llmcore
