#include "cuda/emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LLMCORE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define LLMCORE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LLMCORE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define LLMCORE_TSAN 1
#endif

#if defined(LLMCORE_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(LLMCORE_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__) && defined(__linux__)
#define LLMCORE_ASSEMBLY_SWITCH 1
// Keeps the registers that a call keeps on the old stack, and returns on the new one.
extern "C" void llmcore_switch_stack(void** old_stack_pointer, void* new_stack_pointer);
asm(R"(
.pushsection .text
.hidden llmcore_switch_stack
.globl llmcore_switch_stack
.type llmcore_switch_stack,@function
.p2align 4
llmcore_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size llmcore_switch_stack,.-llmcore_switch_stack
.popsection
)");
#else
#include <ucontext.h>
#endif

namespace llmcore::cuda::emulation {

namespace {

#if defined(LLMCORE_ASAN) || defined(LLMCORE_TSAN)
constexpr std::size_t kStackBytes = 256 * 1024;
#else
constexpr std::size_t kStackBytes = 128 * 1024;
#endif
constexpr std::size_t kGuardBytes = 64 * 1024;  // a multiple of every page size

}  // namespace

Fiber::Fiber() {
#if defined(LLMCORE_TSAN)
    sanitizer_fiber_ = __tsan_get_current_fiber();
#endif
#if !defined(LLMCORE_ASSEMBLY_SWITCH)
    stack_pointer_ = new ucontext_t;
#endif
}

Fiber::Fiber(void (*entry)(), unsigned color) {
    void* const mapping = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = mapping;
    mprotect(mapping, kGuardBytes, PROT_NONE);
    unsigned char* const bottom = static_cast<unsigned char*>(mapping) + kGuardBytes;
    stack_bottom_ = bottom;
    stack_bytes_ = kStackBytes;
#if defined(LLMCORE_TSAN)
    sanitizer_fiber_ = __tsan_create_fiber(0);
#endif
#if defined(LLMCORE_ASSEMBLY_SWITCH)
    // Six registers, the address to return to, and a return address of `entry` that ends every backtrace.
    auto* top = reinterpret_cast<std::uintptr_t*>(bottom + kStackBytes - (color * 320) % 4096 / 64 * 64);
    *--top = 0;
    *--top = reinterpret_cast<std::uintptr_t>(entry);
    for (int i = 0; i < 6; ++i) *--top = 0;
    stack_pointer_ = top;
#else
    static_cast<void>(color);
    auto* const context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = bottom;
    context->uc_stack.ss_size = kStackBytes;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    stack_pointer_ = context;
#endif
}

Fiber::~Fiber() {
#if !defined(LLMCORE_ASSEMBLY_SWITCH)
    delete static_cast<ucontext_t*>(stack_pointer_);
#endif
    if (mapping_ == nullptr) return;
#if defined(LLMCORE_TSAN)
    __tsan_destroy_fiber(sanitizer_fiber_);
#endif
#if defined(LLMCORE_ASAN)
    __asan_unpoison_memory_region(stack_bottom_, stack_bytes_);
#endif
    munmap(mapping_, kGuardBytes + kStackBytes);
}

void Fiber::switch_to(Fiber& next) {
    next.came_from_ = this;
#if defined(LLMCORE_ASAN)
    __sanitizer_start_switch_fiber(&fake_stack_, next.stack_bottom_, next.stack_bytes_);
#endif
#if defined(LLMCORE_TSAN)
    __tsan_switch_to_fiber(next.sanitizer_fiber_, 0);
#endif
#if defined(LLMCORE_ASSEMBLY_SWITCH)
    llmcore_switch_stack(&stack_pointer_, next.stack_pointer_);
#else
    swapcontext(static_cast<ucontext_t*>(stack_pointer_), static_cast<ucontext_t*>(next.stack_pointer_));
#endif
    arrived();
}

void Fiber::started() { arrived(); }

void Fiber::arrived() {
#if defined(LLMCORE_ASAN)
    // The system thread's stack is learnt from the first switch away from it.
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
    came_from_->stack_bottom_ = bottom;
    came_from_->stack_bytes_ = bytes;
#endif
}

}  // namespace llmcore::cuda::emulation
