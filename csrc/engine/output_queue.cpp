#include "engine/output_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace llmcore {

OutputQueue::OutputQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) fail(ErrorCode::internal, "engine", "eventfd failed", std::strerror(errno), "a descriptor");
}

OutputQueue::~OutputQueue() { ::close(fd_); }

void OutputQueue::push(std::vector<Output>& outputs) {
    if (outputs.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        const bool was_empty = queued_.empty();
        std::move(outputs.begin(), outputs.end(), std::back_inserter(queued_));
        if (was_empty) {
            // Cannot fail: the counter is 0 or 1.
            const std::uint64_t one = 1;
            [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof(one));
        }
    }
    outputs.clear();
    arrived_.notify_one();
}

std::vector<Output> OutputQueue::take() {
    if (!queued_.empty()) {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof(count));
    }
    return std::exchange(queued_, {});
}

std::vector<Output> OutputQueue::drain() {
    const std::lock_guard lock(mutex_);
    return take();
}

std::vector<Output> OutputQueue::wait(double seconds) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::duration<double>(seconds),
                      [&] { return closed_ || !queued_.empty(); });
    return take();
}

void OutputQueue::close() {
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
    }
    arrived_.notify_all();
}

}  // namespace llmcore
