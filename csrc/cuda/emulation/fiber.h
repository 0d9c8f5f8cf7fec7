// A stack of its own and the switch to it, known to the address and thread sanitizers.
#pragma once

#include <cstddef>

namespace llmcore::cuda::emulation {

class Fiber {
public:
    // The calling system thread, as a fiber to come back to.
    Fiber();
    // Starts in `entry` at the first switch to it; `entry` never returns. `color` spreads the tops of stacks
    // over the sets of the cache.
    Fiber(void (*entry)(), unsigned color);
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Leaves this fiber, which must be the running one; returns when something switches back to it.
    void switch_to(Fiber& next);
    // What `entry` does first.
    void started();

private:
    void arrived();

    void* stack_pointer_ = nullptr;  // a ucontext_t where there is no assembly
    void* mapping_ = nullptr;
    Fiber* came_from_ = nullptr;
    const void* stack_bottom_ = nullptr;
    std::size_t stack_bytes_ = 0;
    [[maybe_unused]] void* fake_stack_ = nullptr;       // the address sanitizer's
    [[maybe_unused]] void* sanitizer_fiber_ = nullptr;  // the thread sanitizer's
};

}  // namespace llmcore::cuda::emulation
