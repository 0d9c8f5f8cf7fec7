#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "harness.h"

namespace llmcore::test {

LLMCORE_TEST(thread_pool_covers_every_index_once) {
    for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        CHECK(pool.size() == threads);
        for (const std::int64_t n : {0, 1, 7, 64, 1000})
            for (const std::int64_t chunk : {1, 3, 64}) {
                std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
                pool.parallel_for(n, chunk, [&](std::int64_t begin, std::int64_t end, int worker) {
                    if (worker < 0 || worker >= threads) return;
                    for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
                });
                bool once = true;
                for (const auto& hit : hits) once &= hit.load() == 1;
                CHECK_MSG(once, threads << " threads, n " << n << ", chunk " << chunk);
            }
    }
}

LLMCORE_TEST(thread_pool_wakes_sleeping_workers) {
    ThreadPool pool(3);
    for (int round = 0; round < 20; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long enough for workers to fall asleep
        std::atomic<int> sum{0};
        pool.parallel_for(30, 1,
                          [&](std::int64_t begin, std::int64_t, int) { sum += static_cast<int>(begin); });
        CHECK(sum.load() == 435);
    }
}

LLMCORE_TEST(thread_pool_rethrows_and_goes_on) {
    ThreadPool pool(3);
    CHECK_THROWS(ErrorCode::internal, pool.parallel_for(100, 1, [](std::int64_t begin, std::int64_t, int) {
        if (begin == 42) fail(ErrorCode::internal, "test", "planned");
    }));
    std::atomic<int> count{0};
    pool.parallel_for(10, 1, [&](std::int64_t, std::int64_t, int) { ++count; });
    CHECK(count.load() == 10);
    CHECK_THROWS(ErrorCode::invalid_argument, ThreadPool(0));
}

}  // namespace llmcore::test
