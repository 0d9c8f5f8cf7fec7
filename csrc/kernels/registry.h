// The list of all kernels, and the choice of one for a shape on this machine.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/kernel_choice.h"
#include "kernels/tuned_kernels.h"

namespace llmcore {

// Every kernel of this build, in the order of their names.
std::span<const Kernel* const> all_kernels();

// The kernel of that name, or null.
const Kernel* find_kernel(std::string_view name);

// Chooses kernels for one machine. Immutable after construction.
class KernelSelector {
public:
    // `ceiling`: the highest ISA to use. `forced`: comma separated kernel names that win wherever they apply.
    // `tuned`: what was measured here, which wins over the kernels' own estimates.
    // Throws Error(invalid_argument) if a forced name is unknown or cannot run here.
    KernelSelector(Isa ceiling, std::string_view forced, TunedKernels tuned = {});

    // From the machine and the environment (LLMCORE_ISA, LLMCORE_KERNEL).
    static KernelSelector from_environment(TunedKernels tuned = {});

    // The forced, the tuned or the cheapest kernel that fits; null where there is none.
    KernelChoice choose(Op op, Format format, Layout weight_layout, Layout out_layout,
                        const Shape& shape) const;

    // choose()'s kernel.
    const Kernel* find(Op op, Format format, Layout weight_layout, Layout out_layout,
                       const Shape& shape) const;

    // As find(), but throws Error(model) that names the op and the format.
    const Kernel& select(Op op, Format format, Layout weight_layout, Layout out_layout,
                         const Shape& shape) const;

    // The kernels this selector may choose from.
    std::span<const Kernel* const> usable() const { return usable_; }

private:
    std::vector<const Kernel*> usable_;
    std::vector<const Kernel*> forced_;
    Isa ceiling_;
    TunedKernels tuned_;
};

const char* op_name(Op op);
const char* layout_name(Layout layout);
const char* reason_name(ChoiceReason reason);

// Bytes of a row of k floats in a layout of activations; rows that lie interleaved share them.
std::int64_t packed_row_bytes(Layout layout, std::int64_t k);
// Rows of a layout that lie interleaved: 1 where they do not.
std::int64_t packed_row_group(Layout layout);
// Bytes of m rows, whole groups of them.
std::int64_t packed_bytes(Layout layout, std::int64_t m, std::int64_t k);

}  // namespace llmcore
