// What runs emulated kernels: the threads of blocks as fibers, and who goes on when one waits.
#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cuda/emulation/fiber.h"
#include "cuda/emulation/simt_emulation.h"

namespace llmcore::cuda::emulation {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kLanes = 32;

struct Seed {
    std::atomic<uint64_t> value{1};
    std::atomic<uint64_t> changes{1};
};
extern Seed seed_of_all;

struct PendingCopy {
    void* to;
    const void* from;
    int bytes;
    int group;
};

// What a thread that spins waits for: that a counter reaches its target, or that the phase of this parity of
// a barrier is complete.
struct Condition {
    const uint32_t* counter = nullptr;
    uint32_t target = 0;
    uint64_t* barrier = nullptr;
    uint32_t parity = 0;
};

struct Thread {
    Fiber* fiber = nullptr;  // none before it starts and after it ends
    bool at_barrier = false;
    Condition awaited;
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

struct FreeMemory {
    void operator()(void* memory) const { std::free(memory); }
};

struct BulkCopy {
    void* to;
    const void* from;
    size_t bytes;
    const uint64_t* barrier;
};

struct Block {
    unsigned index = 0;
    unsigned n_alive = 0;
    unsigned n_at_barrier = 0;
    bool depth_first = false;
    unsigned n_ready = 0;
    uint16_t ready[kMaxThreads] = {};
    std::vector<uint16_t> spinning;
    std::vector<BulkCopy> bulk_copies;
    std::vector<Thread> threads{kMaxThreads};
    std::vector<Warp> warps{kMaxThreads / kLanes};
    std::unique_ptr<void, FreeMemory> shared;
};

// The state of a system thread: its fibers, and the blocks that run; several only in a cooperative launch,
// each as far as it goes before another.
class Engine {
public:
    void run(Dim3 grid, unsigned n_threads, size_t bytes, bool cooperative,
             const std::function<void()>& body);
    uint64_t meet(const Collective& collective, uint32_t mask, const Lane& mine);
    void barrier();
    void spin(const Condition& condition);
    void start_bulk_copy(const BulkCopy& copy);
    void run_threads();  // what a fiber does, over and over
    Thread& current() { return block_->threads[current_]; }
    Fiber& running_fiber() { return *running_; }

private:
    uint64_t random();
    void start_block(unsigned index, size_t bytes);
    void enter(Block& block);
    bool enter_another_block();
    void run_blocks();
    bool is_met(const Condition& condition);
    void wake_spinning();
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
    size_t shared_bytes_ = 0;
    unsigned current_ = 0;  // thread of the block
    Block* block_ = nullptr;
    size_t n_blocks_ = 0;  // that run together
    std::vector<std::unique_ptr<Block>> blocks_;
    Fiber system_fiber_;
    Fiber* running_ = &system_fiber_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> idle_fibers_;
    std::vector<uint32_t> block_order_;
    uint64_t random_state_ = 0;
    uint64_t seed_changes_ = 0;
};

Engine& engine();  // of this system thread

}  // namespace llmcore::cuda::emulation
