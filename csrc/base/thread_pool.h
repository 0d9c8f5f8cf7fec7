// Fork-join threads for one engine. Workers spin for a bounded time, then sleep on a futex.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace llmcore {

// A reference to a callable, valid during one call.
class ChunkFunction {
public:
    template <typename F>
    // NOLINTNEXTLINE(google-explicit-constructor): lambdas bind to it at the call
    ChunkFunction(F&& f)
        : object_(const_cast<void*>(static_cast<const void*>(&f))),
          call_([](void* object, std::int64_t begin, std::int64_t end, int worker) {
              (*static_cast<std::remove_reference_t<F>*>(object))(begin, end, worker);
          }) {}
    void operator()(std::int64_t begin, std::int64_t end, int worker) const {
        call_(object_, begin, end, worker);
    }

private:
    void* object_;
    void (*call_)(void*, std::int64_t, std::int64_t, int);
};

class ThreadPool {
public:
    // n_threads counts the caller: n_threads - 1 are started. At least 1.
    explicit ThreadPool(int n_threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const;

    // Calls f(begin, end, worker) for chunks of at most `chunk` that together cover [0, n), on all threads;
    // returns when all are done. One caller at a time. An exception of f is rethrown here once all threads
    // have stopped.
    void parallel_for(std::int64_t n, std::int64_t chunk, ChunkFunction f);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace llmcore
