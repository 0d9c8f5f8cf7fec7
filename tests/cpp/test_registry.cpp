#include <cstdlib>
#include <set>
#include <string>

#include "base/cpu_features.h"
#include "harness.h"
#include "kernels/registry.h"

namespace llmcore::test {

LLMCORE_TEST(kernel_names_are_unique_and_end_with_their_isa) {
    std::set<std::string> names;
    for (const Kernel* kernel : all_kernels()) {
        const std::string name = kernel->name;
        CHECK_MSG(names.insert(name).second, name);
        CHECK_MSG(name.ends_with(std::string("_") + isa_name(kernel->isa)), name);
        CHECK_MSG(name.starts_with(op_name(kernel->op)), name);
        CHECK(find_kernel(name) == kernel);
    }
    CHECK(find_kernel("linear_q4_0_abacus") == nullptr);
}

// LLMCORE_TEST_ISA: what the processor is known to have.
LLMCORE_TEST(the_instruction_set_is_found) {
    const char* known = std::getenv("LLMCORE_TEST_ISA");
    if (known != nullptr) CHECK_MSG(std::string(known) == isa_name(detected_isa()), isa_name(detected_isa()));
    CHECK(can_run(detected_isa(), detected_isa()));
    CHECK(runnable_isas().front() == Isa::scalar);
    const KernelSelector selector(detected_isa(), "");
    for (const Format format : {Format::F32, Format::F16, Format::BF16, Format::Q4_0, Format::Q4_K}) {
        const Kernel* kernel =
            selector.find(Op::linear, format, Layout::gguf, Layout::f32, {.m = 1, .n = 64, .k = 256});
        CHECK(kernel != nullptr && (kernel->isa != Isa::scalar || detected_isa() == Isa::scalar));
    }
}

LLMCORE_TEST(isa_is_a_ceiling) {
    const KernelSelector selector(Isa::scalar, "");
    CHECK(!selector.usable().empty());
    for (const Kernel* kernel : selector.usable()) CHECK(kernel->isa == Isa::scalar);
}

LLMCORE_TEST(forced_kernels_win) {
    const Shape shape = {.m = 1, .n = 64, .k = 256};
    const KernelSelector selector(detected_isa(), "linear_q4_0_scalar,linear_q6_k_scalar");
    const Kernel* kernel = selector.find(Op::linear, Format::Q4_0, Layout::gguf, Layout::f32, shape);
    CHECK(kernel == find_kernel("linear_q4_0_scalar"));
    const Kernel* other = selector.find(Op::linear, Format::Q8_0, Layout::gguf, Layout::f32, shape);
    CHECK(other != nullptr && (other->isa != Isa::scalar || detected_isa() == Isa::scalar));
}

LLMCORE_TEST(unusable_forced_names_are_errors) {
    CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(detected_isa(), "linear_q4_0_abacus"));
    for (const Kernel* kernel : all_kernels())
        if (kernel->isa != Isa::scalar)
            CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(Isa::scalar, kernel->name));
}

LLMCORE_TEST(a_missing_kernel_is_named) {
    const KernelSelector selector(detected_isa(), "");
    CHECK_THROWS(ErrorCode::model, selector.select(Op::linear, Format::F64, Layout::gguf, Layout::f32,
                                                   {.m = 1, .n = 1, .k = 1}));
}

}  // namespace llmcore::test
