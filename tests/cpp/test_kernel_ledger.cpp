#include "backend/kernel_ledger.h"

#include <cstddef>
#include <string>

#include "base/cpu_features.h"
#include "harness.h"

namespace llmcore::test {

LLMCORE_TEST(every_number_of_rows_is_in_the_class_of_its_fewest) {
    std::size_t last = 0;
    for (std::int64_t m = 1; m <= 2000; ++m) {
        const std::size_t index = row_class(m);
        CHECK_MSG(index == last || index == last + 1, std::to_string(m));
        if (index != last) CHECK_MSG(class_rows(index) == m, std::to_string(m));
        last = index;
    }
    CHECK(row_class(64) == 64 && row_class(65) == row_class(128) && row_class(128) != row_class(129));
}

LLMCORE_TEST(the_ledger_tells_what_ran_and_what_would) {
    const Kernel* scalar = find_kernel("linear_q8_0_scalar");
    const Shape matrix = {.m = 1, .n = 96, .k = 64};
    const KernelSelector selector(
        detected_isa(), "norm_rms_scalar",
        TunedKernels({{.format = Format::Q8_0, .m = 1, .n = 96, .k = 64, .kernel = scalar},
                      {.format = Format::Q8_0,
                       .m = 400,
                       .n = 96,
                       .k = 64,
                       .kernel = KernelSelector(detected_isa(), "")
                                     .find(Op::linear, Format::Q8_0, Layout::gguf, Layout::f32, matrix)}}));
    KernelLedger ledger;
    CHECK(ledger.uses(selector).empty());
    ledger.note(Op::linear, Format::Q8_0, Layout::f32, {.m = 1, .n = 96, .k = 64});
    ledger.note(Op::linear, Format::Q8_0, Layout::f32, {.m = 3, .n = 96, .k = 64});
    ledger.note(Op::norm, Format::none, Layout::f32, {.m = 5, .n = 64});
    std::int64_t next = 1;
    bool norm = false;
    for (const KernelUse& use : ledger.uses(selector)) {
        if (use.choice.kernel->op == Op::norm) {
            norm = use.choice.reason == ChoiceReason::forced && use.ran && use.last_rows == 0;
            continue;
        }
        CHECK(use.first_rows == next && use.last_rows >= next);
        CHECK(use.choice.reason == ChoiceReason::tuned);
        CHECK(use.shape.n == 96 && use.shape.k == 64);
        if (use.first_rows == 1) CHECK(use.choice.kernel == scalar);
        CHECK(use.ran == (use.first_rows == 1));
        next = use.last_rows + 1;
    }
    CHECK(norm);
    CHECK(next == 513);  // every size of a step, once
}

}  // namespace llmcore::test
