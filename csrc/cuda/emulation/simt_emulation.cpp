#include "cuda/emulation/simt_emulation.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cuda/emulation/fiber.h"

namespace llmcore::cuda {

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local Dim3 blockDim{};
constinit thread_local Dim3 gridDim{};

namespace emulation {

constinit thread_local unsigned char* shared_begin = nullptr;
constinit thread_local size_t shared_bytes = 0;

namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kLanes = 32;

struct Seed {
    std::atomic<uint64_t> value{1};
    std::atomic<uint64_t> changes{1};
};
constinit Seed seed_of_all;

struct PendingCopy {
    void* to;
    const void* from;
    int bytes;
    int group;
};

struct Thread {
    Fiber* fiber = nullptr;  // none before it starts and after it ends
    bool at_barrier = false;
    std::vector<PendingCopy> copies;
    int committed_groups = 0;
};

// Lanes that have arrived at one collective.
struct Meeting {
    const Collective* collective;
    uint32_t mask;
    uint32_t arrived;
};

struct Warp {
    uint32_t alive = 0;
    unsigned n_meetings = 0;
    Meeting meetings[kLanes];
    Lane lanes[kLanes];
};

// The state of a system thread: its fibers, and the block that runs.
class Engine {
public:
    void run(Dim3 grid, unsigned n_threads, size_t bytes, const std::function<void()>& body);
    uint64_t meet(const Collective& collective, uint32_t mask, const Lane& mine);
    void barrier();
    void run_threads();  // what a fiber does, over and over
    Thread& current() { return threads_[current_]; }
    Fiber& running_fiber() { return *running_; }

private:
    uint64_t random();
    void run_block();
    void make_all_ready();
    void make_ready(unsigned warp, uint32_t lanes);
    bool take_ready();
    void resume();
    void wait();
    void end_thread();
    void finish_meetings(Warp& warp, unsigned warp_index);
    void pass_barrier_if_all_are_there();
    [[noreturn]] void stop_in_deadlock();

    const std::function<void()>* body_ = nullptr;
    unsigned n_threads_ = 0;
    unsigned n_alive_ = 0;
    unsigned n_at_barrier_ = 0;
    unsigned current_ = 0;
    bool depth_first_ = false;
    unsigned n_ready_ = 0;
    uint16_t ready_[kMaxThreads] = {};
    std::vector<Thread> threads_{kMaxThreads};
    std::vector<Warp> warps_{kMaxThreads / kLanes};
    Fiber system_fiber_;
    Fiber* running_ = &system_fiber_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> idle_fibers_;
    std::vector<uint32_t> block_order_;
    uint64_t random_state_ = 0;
    uint64_t seed_changes_ = 0;
};

Engine& engine() {
    static thread_local Engine instance;
    return instance;
}

void fiber_entry() {
    Engine& mine = engine();
    mine.running_fiber().started();
    for (;;) mine.run_threads();
}

struct FreeMemory {
    void operator()(void* memory) const { std::free(memory); }
};

// SplitMix64.
uint64_t Engine::random() {
    random_state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = random_state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

void Engine::run(Dim3 grid, unsigned n_threads, size_t bytes, const std::function<void()>& body) {
    if (body_ != nullptr) stop("a kernel launched from a kernel");
    if (seed_changes_ != seed_of_all.changes.load()) {
        seed_changes_ = seed_of_all.changes.load();
        random_state_ = seed_of_all.value.load();
    }
    body_ = &body;
    n_threads_ = n_threads;
    gridDim = grid;
    blockDim = {n_threads, 1, 1};
    const size_t n_blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    block_order_.resize(n_blocks);
    for (size_t i = 0; i < n_blocks; ++i) {
        const size_t j = random() % (i + 1);
        block_order_[i] = block_order_[j];
        block_order_[j] = static_cast<uint32_t>(i);
    }
    for (const uint32_t block : block_order_) {
        blockIdx = {block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y};
        // Exactly the bytes asked for, so that the address sanitizer sees what goes beyond them; all NaN.
        void* memory = nullptr;
        if (bytes != 0 && posix_memalign(&memory, 1024, bytes) != 0) stop("no memory for %zu bytes", bytes);
        const std::unique_ptr<void, FreeMemory> owner(memory);
        if (bytes != 0) std::memset(memory, 0xFF, bytes);
        shared_begin = static_cast<unsigned char*>(memory);
        shared_bytes = bytes;
        run_block();
    }
    shared_begin = nullptr;
    shared_bytes = 0;
    body_ = nullptr;
}

void Engine::run_block() {
    n_alive_ = n_threads_;
    n_at_barrier_ = 0;
    n_ready_ = 0;
    for (unsigned i = 0; i < n_threads_; ++i) {
        threads_[i].copies.clear();
        threads_[i].committed_groups = 0;
    }
    for (unsigned i = 0; i * kLanes < n_threads_; ++i) {
        const unsigned rest = n_threads_ - i * kLanes;
        warps_[i].alive = rest >= kLanes ? ~0U : (1U << rest) - 1;
        warps_[i].n_meetings = 0;
    }
    // Some blocks run each warp as far as it goes before the next: that finds the barriers missing between
    // warps.
    depth_first_ = (random() & 1U) != 0;
    make_all_ready();
    take_ready();
    resume();
}

void Engine::make_all_ready() {
    const unsigned n_warps = (n_threads_ + kLanes - 1) / kLanes;
    uint8_t order[kMaxThreads / kLanes];
    for (unsigned i = 0; i < n_warps; ++i) {
        const unsigned j = static_cast<unsigned>(random() % (i + 1));
        order[i] = order[j];
        order[j] = static_cast<uint8_t>(i);
    }
    for (unsigned i = 0; i < n_warps; ++i) make_ready(order[i], warps_[order[i]].alive);
}

void Engine::make_ready(unsigned warp, uint32_t lanes) {
    const auto drawn = static_cast<unsigned>(random() >> 32);
    const unsigned step = drawn | 1U;  // odd, so that all lanes come once
    unsigned lane = drawn >> 8;
    for (unsigned i = 0; i < kLanes; ++i, lane += step) {
        const unsigned in_warp = lane % kLanes;
        if ((lanes >> in_warp & 1U) != 0) ready_[n_ready_++] = static_cast<uint16_t>(warp * kLanes + in_warp);
    }
}

// Makes one of those that can go on the current thread.
bool Engine::take_ready() {
    if (n_ready_ == 0) {
        if (n_alive_ != 0) stop_in_deadlock();
        return false;
    }
    const uint64_t drawn = random() >> 32;
    const unsigned at = depth_first_ ? n_ready_ - 1 : static_cast<unsigned>(drawn * n_ready_ >> 32);
    current_ = ready_[at];
    ready_[at] = ready_[--n_ready_];
    threadIdx.x = current_;
    return true;
}

// Switches to the current thread's fiber; returns when the one that called is chosen again.
void Engine::resume() {
    Thread& next = current();
    if (next.fiber == nullptr) {
        if (idle_fibers_.empty()) {
            fibers_.push_back(std::make_unique<Fiber>(&fiber_entry, static_cast<unsigned>(fibers_.size())));
            idle_fibers_.push_back(fibers_.back().get());
        }
        next.fiber = idle_fibers_.back();
        idle_fibers_.pop_back();
    }
    Fiber& from = *running_;
    running_ = next.fiber;
    from.switch_to(*running_);
}

void Engine::wait() {
    const unsigned mine = current_;
    take_ready();
    if (current_ != mine) resume();
}

// A thread that ends hands its fiber to one that has not begun: a kernel without barriers never switches.
void Engine::run_threads() {
    for (;;) {
        Fiber* const fiber = running_;
        current().fiber = fiber;
        (*body_)();
        current().fiber = nullptr;
        end_thread();
        if (!take_ready()) {
            idle_fibers_.push_back(fiber);
            running_ = &system_fiber_;
            fiber->switch_to(system_fiber_);
        } else if (current().fiber != nullptr) {
            idle_fibers_.push_back(fiber);
            resume();
        }
    }
}

void Engine::end_thread() {
    --n_alive_;
    Warp& warp = warps_[current_ / kLanes];
    warp.alive &= ~(1U << current_ % kLanes);
    finish_meetings(warp, current_ / kLanes);
    pass_barrier_if_all_are_there();
}

void Engine::finish_meetings(Warp& warp, unsigned warp_index) {
    for (unsigned i = 0; i < warp.n_meetings;) {
        const Meeting meeting = warp.meetings[i];
        if (meeting.arrived != (meeting.mask & warp.alive)) {
            ++i;
            continue;
        }
        if (meeting.collective->whole_warp && meeting.arrived != ~0U)
            stop("%s with lanes 0x%08x only", meeting.collective->name, meeting.arrived);
        warp.meetings[i] = warp.meetings[--warp.n_meetings];
        if (meeting.collective->work != nullptr) meeting.collective->work(warp.lanes, meeting.arrived);
        make_ready(warp_index, meeting.arrived);
    }
}

uint64_t Engine::meet(const Collective& collective, uint32_t mask, const Lane& mine) {
    const unsigned warp_index = current_ / kLanes;
    const unsigned lane = current_ % kLanes;
    Warp& warp = warps_[warp_index];
    if ((mask >> lane & 1U) == 0) stop("%s: lane %u is not in its mask 0x%08x", collective.name, lane, mask);
    warp.lanes[lane] = mine;
    unsigned at = 0;
    while (at < warp.n_meetings && warp.meetings[at].mask != mask) ++at;
    if (at == warp.n_meetings) warp.meetings[warp.n_meetings++] = {&collective, mask, 0};
    Meeting& meeting = warp.meetings[at];
    if (meeting.collective != &collective)
        stop("lanes of a warp in different collectives: %s (lanes 0x%08x) and %s (lane %u)",
             meeting.collective->name, meeting.arrived, collective.name, lane);
    meeting.arrived |= 1U << lane;
    if (meeting.arrived == (mask & warp.alive)) finish_meetings(warp, warp_index);
    wait();
    return warp.lanes[lane].result;
}

void Engine::pass_barrier_if_all_are_there() {
    if (n_at_barrier_ == 0 || n_at_barrier_ != n_alive_) return;
    n_at_barrier_ = 0;
    for (unsigned i = 0; i < n_threads_; ++i) threads_[i].at_barrier = false;
    make_all_ready();
}

void Engine::barrier() {
    ++n_at_barrier_;
    current().at_barrier = true;
    pass_barrier_if_all_are_there();
    wait();
}

void Engine::stop_in_deadlock() {
    std::string where;
    char line[160];
    for (unsigned w = 0; w * kLanes < n_threads_; ++w) {
        uint32_t at_barrier = 0;
        for (unsigned lane = 0; lane < kLanes && w * kLanes + lane < n_threads_; ++lane)
            at_barrier |= static_cast<uint32_t>(threads_[w * kLanes + lane].at_barrier) << lane;
        if (at_barrier != 0) {
            std::snprintf(line, sizeof(line), "\n  warp %u: lanes 0x%08x in __syncthreads", w, at_barrier);
            where += line;
        }
        for (unsigned i = 0; i < warps_[w].n_meetings; ++i) {
            const Meeting& meeting = warps_[w].meetings[i];
            std::snprintf(line, sizeof(line), "\n  warp %u: lanes 0x%08x in %s of mask 0x%08x", w,
                          meeting.arrived, meeting.collective->name, meeting.mask);
            where += line;
        }
    }
    stop("no thread can go on; %u are alive:%s", n_alive_, where.c_str());
}

}  // namespace

uint64_t meet(const Collective& collective, uint32_t mask, const Lane& mine) {
    return engine().meet(collective, mask, mine);
}

void copy_async_wait(int pending) {
    Thread& thread = engine().current();
    const int arrived_groups = thread.committed_groups - pending;
    size_t kept = 0;
    for (const PendingCopy& copy : thread.copies) {
        if (copy.group >= arrived_groups) {
            thread.copies[kept++] = copy;
            continue;
        }
        unsigned char bytes[16] = {};
        if (copy.bytes != 0) std::memcpy(bytes, copy.from, static_cast<size_t>(copy.bytes));
        std::memcpy(copy.to, bytes, sizeof(bytes));
    }
    thread.copies.resize(kept);
}

}  // namespace emulation

void copy_async16(void* shared, const void* global, int bytes) {
    emulation::check_shared_row("copy_async16", shared);
    if (reinterpret_cast<uintptr_t>(global) % 16 != 0)
        emulation::stop("copy_async16 from unaligned %p", global);
    if (bytes < 0 || bytes > 16) emulation::stop("copy_async16 of %d bytes", bytes);
    emulation::Thread& thread = emulation::engine().current();
    thread.copies.push_back({shared, global, bytes, thread.committed_groups});
}

void copy_async_commit() { ++emulation::engine().current().committed_groups; }

void __syncthreads() { emulation::engine().barrier(); }

void set_emulation_seed(uint64_t seed) {
    emulation::seed_of_all.value = seed;
    ++emulation::seed_of_all.changes;
}

void emulate(Dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()>& body) {
    const auto refuse = [](const char* what, size_t got, const char* expected) {
        fail(ErrorCode::internal, "cuda emulation", what, std::to_string(got), expected);
    };
    if (threads == 0 || threads > emulation::kMaxThreads) refuse("threads of a block", threads, "1 to 1024");
    if (shared_bytes > kEmulatedSharedBytes) refuse("bytes of shared memory", shared_bytes, "up to 227 KiB");
    if (grid.x == 0 || grid.x > 0x7FFFFFFFU) refuse("grid x", grid.x, "1 to 2^31 - 1");
    if (grid.y == 0 || grid.y > 0xFFFFU) refuse("grid y", grid.y, "1 to 65535");
    if (grid.z == 0 || grid.z > 0xFFFFU) refuse("grid z", grid.z, "1 to 65535");
    emulation::engine().run(grid, threads, shared_bytes, body);
}

}  // namespace llmcore::cuda
