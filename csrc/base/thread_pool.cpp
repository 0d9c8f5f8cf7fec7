#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace llmcore {

namespace {

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");  // about as long as x86's pause; `yield` does nothing on most
#else
    std::this_thread::yield();
#endif
}

// About 50 microseconds: longer than the gaps between the operations of a step, shorter than anyone's
// patience with an idle engine that burns a core.
constexpr int kSpins = 2000;

}  // namespace

// A job is open while its caller works on it. Workers that come in time join; nobody waits for one that has
// lost its core, because whoever comes late finds the gate closed and goes back to waiting.
struct ThreadPool::State {
    std::vector<std::thread> threads;

    // The job: written by the caller while the gate is closed and nobody is inside.
    std::int64_t n = 0;
    std::int64_t chunk = 1;
    const ChunkFunction* function = nullptr;

    static constexpr std::uint32_t kOpen = 1U << 31;
    alignas(64) std::atomic<std::uint32_t> gate{0};  // kOpen, and the number of workers inside
    alignas(64) std::atomic<std::int64_t> next{0};
    alignas(64) std::atomic<std::uint32_t> generation{0};
    std::atomic<std::int32_t> sleepers{0};
    std::atomic<bool> stopping{false};

    std::mutex error_mutex;
    std::exception_ptr error;

    void work(int worker) {
        try {
            for (;;) {
                const std::int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
                if (begin >= n) return;
                (*function)(begin, std::min(n, begin + chunk), worker);
            }
        } catch (...) {
            next.store(n, std::memory_order_relaxed);
            const std::lock_guard lock(error_mutex);
            if (!error) error = std::current_exception();
        }
    }

    std::uint32_t wait_for_job(std::uint32_t seen) {
        for (int i = 0; i < kSpins; ++i) {
            const std::uint32_t now = generation.load(std::memory_order_acquire);
            if (now != seen) return now;
            relax();
        }
        sleepers.fetch_add(1);
        while (generation.load() == seen) generation.wait(seen);
        sleepers.fetch_sub(1);
        return generation.load(std::memory_order_acquire);
    }

    void worker_main(int worker) {
        std::uint32_t seen = 0;
        for (;;) {
            seen = wait_for_job(seen);
            if (stopping.load(std::memory_order_acquire)) return;
            if ((gate.fetch_add(1, std::memory_order_acq_rel) & kOpen) != 0) work(worker);
            gate.fetch_sub(1, std::memory_order_release);
        }
    }

    void open() {
        gate.fetch_or(kOpen, std::memory_order_release);
        generation.fetch_add(1);
        // Whoever sleeps had announced it before it last looked at `generation`, so none is missed.
        if (sleepers.load() > 0) generation.notify_all();
    }

    void close() {
        gate.fetch_and(~kOpen, std::memory_order_acq_rel);
        for (int i = 0; gate.load(std::memory_order_acquire) != 0; ++i) {
            // A worker that lost its core inside gets it from us instead of waiting for us to stop spinning.
            if (i < kSpins)
                relax();
            else
                std::this_thread::yield();
        }
    }
};

ThreadPool::ThreadPool(int n_threads) : state_(std::make_unique<State>()) {
    if (n_threads < 1)
        fail(ErrorCode::invalid_argument, "thread_pool", "number of threads", std::to_string(n_threads),
             "1 or more");
    state_->threads.reserve(static_cast<std::size_t>(n_threads - 1));
    for (int i = 1; i < n_threads; ++i) state_->threads.emplace_back([this, i] { state_->worker_main(i); });
}

ThreadPool::~ThreadPool() {
    state_->stopping.store(true, std::memory_order_release);
    state_->generation.fetch_add(1);
    state_->generation.notify_all();
    for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->threads.size()) + 1; }

void ThreadPool::parallel_for(std::int64_t n, std::int64_t chunk, ChunkFunction f) {
    if (n <= 0) return;
    State& state = *state_;
    if (state.threads.empty() || n <= chunk) {
        f(0, n, 0);
        return;
    }
    state.n = n;
    state.chunk = chunk;
    state.function = &f;
    state.next.store(0, std::memory_order_relaxed);
    state.open();
    state.work(0);
    state.close();
    if (state.error) std::rethrow_exception(std::exchange(state.error, nullptr));
}

}  // namespace llmcore
