#include "cuda/emulation/engine.h"

#include <cstdio>
#include <string>

namespace llmcore::cuda {

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local Dim3 blockDim{};
constinit thread_local Dim3 gridDim{};

namespace emulation {

constinit thread_local unsigned char* shared_begin = nullptr;
constinit thread_local size_t shared_bytes = 0;
constinit Seed seed_of_all;

Engine& engine() {
    static thread_local Engine instance;
    return instance;
}

static void fiber_entry() {
    Engine& mine = engine();
    mine.running_fiber().started();
    for (;;) mine.run_threads();
}

// SplitMix64.
uint64_t Engine::random() {
    random_state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = random_state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

void Engine::run(Dim3 grid, unsigned n_threads, size_t bytes, bool cooperative,
                 const std::function<void()>& body) {
    if (body_ != nullptr) stop("a kernel launched from a kernel");
    if (seed_changes_ != seed_of_all.changes.load()) {
        seed_changes_ = seed_of_all.changes.load();
        random_state_ = seed_of_all.value.load();
    }
    body_ = &body;
    n_threads_ = n_threads;
    shared_bytes_ = bytes;
    gridDim = grid;
    blockDim = {n_threads, 1, 1};
    const size_t n_blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    block_order_.resize(n_blocks);
    for (size_t i = 0; i < n_blocks; ++i) {
        const size_t j = random() % (i + 1);
        block_order_[i] = block_order_[j];
        block_order_[j] = static_cast<uint32_t>(i);
    }
    n_blocks_ = 0;
    for (const uint32_t block : block_order_) {
        start_block(block, bytes);
        if (!cooperative) run_blocks();
    }
    if (cooperative) run_blocks();
    shared_begin = nullptr;
    shared_bytes = 0;
    body_ = nullptr;
}

void Engine::start_block(unsigned index, size_t bytes) {
    if (n_blocks_ == blocks_.size()) blocks_.push_back(std::make_unique<Block>());
    Block& block = *blocks_[n_blocks_++];
    // Exactly the bytes asked for, so that the address sanitizer sees what goes beyond them; all NaN.
    void* memory = nullptr;
    if (bytes != 0 && posix_memalign(&memory, 1024, bytes) != 0) stop("no memory for %zu bytes", bytes);
    block.shared.reset(memory);
    if (bytes != 0) std::memset(memory, 0xFF, bytes);
    block.index = index;
    block.n_alive = n_threads_;
    block.n_at_barrier = 0;
    block.n_ready = 0;
    block.spinning.clear();
    block.bulk_copies.clear();
    for (unsigned i = 0; i < n_threads_; ++i) {
        block.threads[i].copies.clear();
        block.threads[i].committed_groups = 0;
    }
    for (unsigned i = 0; i * kLanes < n_threads_; ++i) {
        const unsigned rest = n_threads_ - i * kLanes;
        block.warps[i].alive = rest >= kLanes ? ~0U : (1U << rest) - 1;
        block.warps[i].n_meetings = 0;
    }
    // Some blocks run each warp as far as it goes before the next: that finds the barriers missing between
    // warps.
    block.depth_first = (random() & 1U) != 0;
    enter(block);
    make_all_ready();
}

void Engine::enter(Block& block) {
    block_ = &block;
    blockIdx = {block.index % gridDim.x, block.index / gridDim.x % gridDim.y,
                block.index / gridDim.x / gridDim.y};
    shared_begin = static_cast<unsigned char*>(block.shared.get());
    shared_bytes = shared_bytes_;
}

void Engine::run_blocks() {
    take_ready();
    resume();
    for (size_t i = 0; i < n_blocks_; ++i) {
        if (!blocks_[i]->bulk_copies.empty()) stop("a block that ends before its copies");
        blocks_[i]->shared.reset();
    }
    n_blocks_ = 0;
}

// Makes a block current that has a thread which can go on.
bool Engine::enter_another_block() {
    Block& before = *block_;
    const size_t first = random() % n_blocks_;
    for (size_t i = 0; i < n_blocks_; ++i) {
        Block& block = *blocks_[(first + i) % n_blocks_];
        if (&block == &before || block.n_alive == 0) continue;
        enter(block);
        wake_spinning();
        if (block.n_ready != 0) return true;
    }
    enter(before);
    return false;
}

bool Engine::is_met(const Condition& condition) {
    if (condition.counter != nullptr) return static_cast<int32_t>(*condition.counter - condition.target) >= 0;
    uint64_t& barrier = *condition.barrier;
    const auto phase = [&] { return static_cast<uint32_t>(barrier >> 32); };
    if ((phase() & 1U) != condition.parity) return true;
    size_t arrived = 0;
    for (const BulkCopy& copy : block_->bulk_copies) arrived += copy.barrier == &barrier ? copy.bytes : 0;
    if ((barrier & 0xFFFFFFFFU) == 0 || (barrier & 0xFFFFFFFFU) != arrived) return false;
    std::erase_if(block_->bulk_copies, [&](const BulkCopy& copy) {
        if (copy.barrier == &barrier) std::memcpy(copy.to, copy.from, copy.bytes);
        return copy.barrier == &barrier;
    });
    barrier = static_cast<uint64_t>(phase() + 1) << 32;
    return true;
}

void Engine::wake_spinning() {
    std::erase_if(block_->spinning, [&](uint16_t thread) {
        const bool met = is_met(block_->threads[thread].awaited);
        if (met) block_->ready[block_->n_ready++] = thread;
        return met;
    });
}

void Engine::spin(const Condition& condition) {
    if (is_met(condition)) return;
    current().awaited = condition;
    block_->spinning.push_back(static_cast<uint16_t>(current_));
    wait();
}

// Half of the copies arrive at once, so that what is overwritten too early shows; the others when they are
// waited for.
void Engine::start_bulk_copy(const BulkCopy& copy) {
    if ((random() & 1U) != 0) std::memcpy(copy.to, copy.from, copy.bytes);
    block_->bulk_copies.push_back(copy);
}

void Engine::make_all_ready() {
    const unsigned n_warps = (n_threads_ + kLanes - 1) / kLanes;
    uint8_t order[kMaxThreads / kLanes];
    for (unsigned i = 0; i < n_warps; ++i) {
        const unsigned j = static_cast<unsigned>(random() % (i + 1));
        order[i] = order[j];
        order[j] = static_cast<uint8_t>(i);
    }
    for (unsigned i = 0; i < n_warps; ++i) make_ready(order[i], block_->warps[order[i]].alive);
}

void Engine::make_ready(unsigned warp, uint32_t lanes) {
    const auto drawn = static_cast<unsigned>(random() >> 32);
    const unsigned step = drawn | 1U;  // odd, so that all lanes come once
    unsigned lane = drawn >> 8;
    for (unsigned i = 0; i < kLanes; ++i, lane += step) {
        const unsigned in_warp = lane % kLanes;
        if ((lanes >> in_warp & 1U) != 0)
            block_->ready[block_->n_ready++] = static_cast<uint16_t>(warp * kLanes + in_warp);
    }
}

// Makes one of those that can go on the current thread.
bool Engine::take_ready() {
    if (block_->n_ready == 0) wake_spinning();
    if (block_->n_ready == 0 && !enter_another_block()) {
        for (size_t i = 0; i < n_blocks_; ++i)
            if (blocks_[i]->n_alive != 0) stop_in_deadlock();
        return false;
    }
    Block& block = *block_;
    const uint64_t drawn = random() >> 32;
    const unsigned at =
        block.depth_first ? block.n_ready - 1 : static_cast<unsigned>(drawn * block.n_ready >> 32);
    current_ = block.ready[at];
    block.ready[at] = block.ready[--block.n_ready];
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
    const Thread* const mine = &current();
    take_ready();
    if (&current() != mine) resume();
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
    --block_->n_alive;
    Warp& warp = block_->warps[current_ / kLanes];
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
    Warp& warp = block_->warps[warp_index];
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
    if (block_->n_at_barrier == 0 || block_->n_at_barrier != block_->n_alive) return;
    block_->n_at_barrier = 0;
    for (unsigned i = 0; i < n_threads_; ++i) block_->threads[i].at_barrier = false;
    make_all_ready();
}

void Engine::barrier() {
    ++block_->n_at_barrier;
    current().at_barrier = true;
    pass_barrier_if_all_are_there();
    wait();
}

void Engine::stop_in_deadlock() {
    std::string where;
    char line[160];
    unsigned n_alive = 0;
    for (size_t b = 0; b < n_blocks_; ++b) {
        const Block& block = *blocks_[b];
        n_alive += block.n_alive;
        if (n_blocks_ > 1) where += "\n block " + std::to_string(block.index) + ":";
        for (unsigned w = 0; w * kLanes < n_threads_; ++w) {
            uint32_t at_barrier = 0;
            for (unsigned lane = 0; lane < kLanes && w * kLanes + lane < n_threads_; ++lane)
                at_barrier |= static_cast<uint32_t>(block.threads[w * kLanes + lane].at_barrier) << lane;
            if (at_barrier != 0) {
                std::snprintf(line, sizeof(line), "\n  warp %u: lanes 0x%08x in __syncthreads", w,
                              at_barrier);
                where += line;
            }
            for (unsigned i = 0; i < block.warps[w].n_meetings; ++i) {
                const Meeting& meeting = block.warps[w].meetings[i];
                std::snprintf(line, sizeof(line), "\n  warp %u: lanes 0x%08x in %s of mask 0x%08x", w,
                              meeting.arrived, meeting.collective->name, meeting.mask);
                where += line;
            }
        }
        for (const uint16_t thread : block.spinning)
            where += "\n  thread " + std::to_string(thread) + " waits for " +
                     (block.threads[thread].awaited.counter != nullptr ? "other blocks" : "a bulk copy");
    }
    stop("no thread can go on; %u are alive:%s", n_alive, where.c_str());
}

}  // namespace emulation

}  // namespace llmcore::cuda
