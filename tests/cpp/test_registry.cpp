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

// Of tokens: few stay with int8, and so do rows that experts pick one by one.
LLMCORE_TEST(amx_multiplies_many_tokens) {
    if (!can_run(Isa::amx, Isa::amx)) return CHECK(true);  // llmcore_emulated_tests has it everywhere
    const KernelSelector selector(Isa::amx, "");
    const auto isa_for = [&](const Shape& shape) {
        return selector.select(Op::linear, Format::Q4_K, Layout::gguf, Layout::f32, shape).isa;
    };
    CHECK(isa_for({.m = 128, .n = 4096, .k = 4096}) == Isa::amx);
    CHECK(isa_for({.m = 8, .n = 4096, .k = 4096}) == Isa::avx512);
    CHECK(isa_for({.m = 128, .n = 4096, .k = 4096, .gathered = true}) == Isa::avx512);
}

LLMCORE_TEST(unusable_forced_names_are_errors) {
    CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(detected_isa(), "linear_q4_0_abacus"));
    for (const Kernel* kernel : all_kernels())
        if (kernel->isa != Isa::scalar)
            CHECK_THROWS(ErrorCode::invalid_argument, KernelSelector(Isa::scalar, kernel->name));
}

LLMCORE_TEST(every_operation_can_be_forced) {
    const Shape shape = {.m = 1, .n = 64, .k = 256, .head_dim = 64, .n_heads = 4, .n_kv_heads = 2};
    for (const Kernel* kernel : all_kernels()) {
        if (!can_run(kernel->isa, detected_isa()) || kernel->op == Op::peak || !kernel->supports(&shape))
            continue;
        const KernelSelector selector(detected_isa(), kernel->name);
        const KernelChoice choice = selector.choose(kernel->op, kernel->weight_format, kernel->weight_layout,
                                                    kernel->out_layout, shape);
        CHECK_MSG(choice.kernel == kernel && choice.reason == ChoiceReason::forced, kernel->name);
    }
}

LLMCORE_TEST(tuned_kernels_win_near_what_was_measured) {
    const Kernel* scalar = find_kernel("linear_q4_0_scalar");
    const auto choose = [](const KernelSelector& selector, Format format, std::int64_t m, std::int64_t n) {
        return selector.choose(Op::linear, format, Layout::gguf, Layout::f32, {.m = m, .n = n, .k = 256});
    };
    const KernelSelector plain(detected_isa(), "");
    const Kernel* usual = choose(plain, Format::Q4_0, 1, 1000).kernel;
    const TunedKernels table({{.format = Format::Q4_0, .m = 1, .n = 1000, .k = 256, .kernel = scalar},
                              {.format = Format::Q4_0, .m = 16, .n = 1000, .k = 256, .kernel = usual},
                              {.format = Format::Q4_0, .m = 1, .n = 4000, .k = 256, .kernel = usual}});
    const KernelSelector tuned(detected_isa(), "", table);
    CHECK(choose(tuned, Format::Q4_0, 1, 1000).kernel == scalar);
    CHECK(choose(tuned, Format::Q4_0, 1, 1000).reason == ChoiceReason::tuned);
    CHECK(choose(tuned, Format::Q4_0, 3, 1100).kernel == scalar);  // 3 is nearer to 1 than to 16
    CHECK(choose(tuned, Format::Q4_0, 5, 1100).kernel == usual);
    CHECK(choose(tuned, Format::Q4_0, 1, 3900).kernel == usual);  // the matrix counts before the rows
    CHECK(choose(tuned, Format::Q4_0, 1, 100).reason == ChoiceReason::built_in);  // 10 times smaller
    CHECK(choose(tuned, Format::Q8_0, 1, 1000).reason == ChoiceReason::built_in);
    CHECK(choose(KernelSelector(detected_isa(), usual->name, table), Format::Q4_0, 1, 1000).reason ==
          ChoiceReason::forced);
    const Kernel* above = find_kernel("linear_q4_0_avx2");
    if (above == nullptr) return;
    const TunedKernels wide({{.format = Format::Q4_0, .m = 1, .n = 1000, .k = 256, .kernel = above}});
    CHECK(choose(KernelSelector(Isa::scalar, "", wide), Format::Q4_0, 1, 1000).kernel == scalar);
}

LLMCORE_TEST(a_missing_kernel_is_named) {
    const KernelSelector selector(detected_isa(), "");
    CHECK_THROWS(ErrorCode::model, selector.select(Op::linear, Format::F64, Layout::gguf, Layout::f32,
                                                   {.m = 1, .n = 1, .k = 1}));
}

}  // namespace llmcore::test
