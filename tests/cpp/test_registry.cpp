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

// Of tokens: few stay with int8, and so do rows that experts pick one by one.
LLMCORE_TEST(amx_multiplies_many_tokens) {
    const KernelSelector selector(Isa::amx, "");
    const auto isa_for = [&](const Shape& shape) {
        return selector.select(Op::linear, Format::Q4_K, Layout::gguf, Layout::f32, shape).isa;
    };
    if (find_kernel("linear_q4_k_amx") == nullptr) return CHECK(true);  // not a processor of this kind
    CHECK(isa_for({.m = 128, .n = 4096, .k = 4096}) == Isa::amx);
    CHECK(isa_for({.m = 8, .n = 4096, .k = 4096}) == Isa::avx512);
    CHECK(isa_for({.m = 128, .n = 4096, .k = 4096, .gathered = true}) == Isa::avx512);
}

LLMCORE_TEST(unusable_forced_names_are_errors) {
    CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(detected_isa(), "linear_q4_0_abacus"));
    CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(Isa::scalar, "linear_q4_0_avx2"));
}

LLMCORE_TEST(a_missing_kernel_is_named) {
    const KernelSelector selector(detected_isa(), "");
    CHECK_THROWS(ErrorCode::model, selector.select(Op::linear, Format::F64, Layout::gguf, Layout::f32,
                                                   {.m = 1, .n = 1, .k = 1}));
}

}  // namespace llmcore::test
