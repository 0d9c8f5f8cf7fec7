#include "cuda/emulation/simt_emulation.h"

#include <string>

#include "base/error.h"
#include "cuda/emulation/engine.h"

namespace llmcore::cuda {

namespace emulation {

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

void barrier_init(uint64_t* barrier, int arrivals) {
    if (arrivals != 1) emulation::stop("a barrier of %d arrivals is not emulated", arrivals);
    *barrier = 0;
}

void barrier_arrive_expecting(uint64_t* barrier, int bytes) {
    if ((*barrier & 0xFFFFFFFFU) != 0) emulation::stop("a barrier armed twice");
    if (bytes <= 0) emulation::stop("a barrier that expects %d bytes", bytes);
    *barrier |= static_cast<uint32_t>(bytes);
}

void barrier_wait(uint64_t* barrier, uint32_t parity) {
    emulation::engine().spin({.barrier = barrier, .parity = parity});
}

void copy_bulk(void* shared, const void* global, int bytes, uint64_t* barrier) {
    if (bytes <= 0 || bytes % 16 != 0) emulation::stop("copy_bulk of %d bytes", bytes);
    for (int at = 0; at < bytes; at += 16)
        emulation::check_shared_row("copy_bulk", static_cast<unsigned char*>(shared) + at);
    if (reinterpret_cast<uintptr_t>(global) % 16 != 0) emulation::stop("copy_bulk from unaligned %p", global);
    emulation::engine().start_bulk_copy({shared, global, static_cast<size_t>(bytes), barrier});
}

void arrive_at_grid(uint32_t* counter) { ++*counter; }
void wait_for_grid(const uint32_t* counter, uint32_t target) {
    emulation::engine().spin({.counter = counter, .target = target});
}

void __syncthreads() { emulation::engine().barrier(); }

void set_emulation_seed(uint64_t seed) {
    emulation::seed_of_all.value = seed;
    ++emulation::seed_of_all.changes;
}

void emulate(Dim3 grid, unsigned threads, size_t shared_bytes, bool cooperative,
             const std::function<void()>& body) {
    const auto refuse = [](const char* what, size_t got, const char* expected) {
        fail(ErrorCode::internal, "cuda emulation", what, std::to_string(got), expected);
    };
    if (threads == 0 || threads > emulation::kMaxThreads) refuse("threads of a block", threads, "1 to 1024");
    if (shared_bytes > kEmulatedSharedBytes) refuse("bytes of shared memory", shared_bytes, "up to 227 KiB");
    if (cooperative && static_cast<size_t>(grid.x) * grid.y * grid.z > kEmulatedMultiprocessors)
        refuse("blocks of a cooperative launch", static_cast<size_t>(grid.x) * grid.y * grid.z,
               "a block a multiprocessor");
    if (grid.x == 0 || grid.x > 0x7FFFFFFFU) refuse("grid x", grid.x, "1 to 2^31 - 1");
    if (grid.y == 0 || grid.y > 0xFFFFU) refuse("grid y", grid.y, "1 to 65535");
    if (grid.z == 0 || grid.z > 0xFFFFU) refuse("grid z", grid.z, "1 to 65535");
    emulation::engine().run(grid, threads, shared_bytes, cooperative, body);
}

}  // namespace llmcore::cuda
