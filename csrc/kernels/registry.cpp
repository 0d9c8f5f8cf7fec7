#include "kernels/registry.h"

#include <cstdlib>
#include <utility>

#include "base/cpu_features.h"
#include "base/error.h"
#include "kernel_list.inc"
#include "kernels/activation_layout.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr const char* kOpNames[] = {"linear", "pack", "norm",       "rope",    "kv_store", "attention",
                                    "glu",    "peak", "layer_norm", "row_max", "exp_sum"};
constexpr const char* kLayoutNames[] = {"none", "f32", "gguf", "q8_32", "bf16_x32"};
constexpr const char* kReasonNames[] = {"built-in", "tuned", "forced"};

bool fits(const Kernel& kernel, Op op, Format format, Layout weight_layout, Layout out_layout,
          const Shape& shape) {
    return kernel.op == op && kernel.weight_format == format && kernel.weight_layout == weight_layout &&
           kernel.out_layout == out_layout && kernel.supports(&shape);
}

}  // namespace

std::span<const Kernel* const> all_kernels() { return kKernelList; }

const Kernel* find_kernel(std::string_view name) {
    for (const Kernel* kernel : all_kernels())
        if (name == kernel->name) return kernel;
    return nullptr;
}

const char* op_name(Op op) { return kOpNames[static_cast<std::size_t>(op)]; }

const char* layout_name(Layout layout) { return kLayoutNames[static_cast<std::size_t>(layout)]; }

const char* reason_name(ChoiceReason reason) { return kReasonNames[static_cast<std::size_t>(reason)]; }

std::int64_t packed_row_bytes(Layout layout, std::int64_t k) {
    if (layout == Layout::f32) return k * static_cast<std::int64_t>(sizeof(float));
    if (layout == Layout::q8_32) return q8x32_layout(k).row_bytes;
    if (layout == Layout::bf16_x32) return bf16_x32_row_bytes(k);
    fail(ErrorCode::internal, "kernels", std::string("no packed form ") + layout_name(layout));
}

std::int64_t packed_row_group(Layout layout) { return layout == Layout::bf16_x32 ? kBf16GroupRows : 1; }

std::int64_t packed_bytes(Layout layout, std::int64_t m, std::int64_t k) {
    const std::int64_t group = packed_row_group(layout);
    return (m + group - 1) / group * group * packed_row_bytes(layout, k);
}

KernelSelector::KernelSelector(Isa ceiling, std::string_view forced, TunedKernels tuned)
    : ceiling_(ceiling), tuned_(std::move(tuned)) {
    for (const Kernel* kernel : all_kernels())
        if (can_run(kernel->isa, ceiling)) usable_.push_back(kernel);

    while (!forced.empty()) {
        const std::size_t comma = forced.find(',');
        const std::string_view name = forced.substr(0, comma);
        forced = comma == std::string_view::npos ? std::string_view() : forced.substr(comma + 1);
        if (name.empty()) continue;
        const Kernel* kernel = find_kernel(name);
        if (kernel == nullptr)
            fail(ErrorCode::invalid_argument, "kernels", "unknown kernel", name,
                 "a name that 'llmcore kernels' lists");
        if (!can_run(kernel->isa, ceiling))
            fail(ErrorCode::invalid_argument, "kernels",
                 std::string("kernel ") + kernel->name + " cannot run here", isa_name(ceiling),
                 isa_name(kernel->isa));
        forced_.push_back(kernel);
    }
}

KernelSelector KernelSelector::from_environment(TunedKernels tuned) {
    const char* forced = std::getenv("LLMCORE_KERNEL");
    return KernelSelector(isa_ceiling(), forced != nullptr ? forced : "", std::move(tuned));
}

KernelChoice KernelSelector::choose(Op op, Format format, Layout weight_layout, Layout out_layout,
                                    const Shape& shape) const {
    for (const Kernel* kernel : forced_)
        if (fits(*kernel, op, format, weight_layout, out_layout, shape))
            return {kernel, ChoiceReason::forced};
    const Kernel* measured = op == Op::linear ? tuned_.find(format, shape) : nullptr;
    if (measured != nullptr && can_run(measured->isa, ceiling_) &&
        fits(*measured, op, format, weight_layout, out_layout, shape))
        return {measured, ChoiceReason::tuned};
    const Kernel* best = nullptr;
    double best_cost = 0.0;
    for (const Kernel* kernel : usable_) {
        if (!fits(*kernel, op, format, weight_layout, out_layout, shape)) continue;
        const double cost = kernel->cost(&shape);
        if (best == nullptr || cost < best_cost) {
            best = kernel;
            best_cost = cost;
        }
    }
    return {best, ChoiceReason::built_in};
}

const Kernel* KernelSelector::find(Op op, Format format, Layout weight_layout, Layout out_layout,
                                   const Shape& shape) const {
    return choose(op, format, weight_layout, out_layout, shape).kernel;
}

const Kernel& KernelSelector::select(Op op, Format format, Layout weight_layout, Layout out_layout,
                                     const Shape& shape) const {
    const Kernel* kernel = find(op, format, weight_layout, out_layout, shape);
    if (kernel == nullptr) {
        std::string what = std::string("no kernel for ") + op_name(op);
        if (format != Format::none) what += std::string(" on ") + format_info(format).name;
        what += " with " + std::to_string(shape.k > 0 ? shape.k : shape.head_dim) + " columns";
        fail(ErrorCode::model, "kernels", what);
    }
    return *kernel;
}

}  // namespace llmcore
