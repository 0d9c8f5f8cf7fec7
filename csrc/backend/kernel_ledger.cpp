#include "backend/kernel_ledger.h"

#include <algorithm>

namespace llmcore {

namespace {

constexpr std::int64_t kExact = 64;      // rows up to which each number is a class of its own
constexpr std::int64_t kMostRows = 512;  // of a step

}  // namespace

std::size_t row_class(std::int64_t m) {
    auto index = static_cast<std::size_t>(std::min(m, kExact));
    for (std::int64_t above = m - 1; above >= kExact; above /= 2) ++index;
    return index;
}

std::int64_t class_rows(std::size_t index) {
    if (index <= static_cast<std::size_t>(kExact)) return static_cast<std::int64_t>(index);
    return (kExact << (index - static_cast<std::size_t>(kExact) - 1)) + 1;
}

void KernelLedger::note(Op op, Format format, Layout out_layout, const Shape& shape) {
    const Key key = {op,      format,         out_layout,    shape.n,
                     shape.k, shape.head_dim, shape.n_heads, shape.n_kv_heads};
    const std::lock_guard lock(mutex_);
    noted_[key].insert(op == Op::linear ? row_class(shape.m) : 1);
}

std::vector<KernelUse> KernelLedger::uses(const KernelSelector& selector) const {
    const auto noted = [this] {
        const std::lock_guard lock(mutex_);
        return noted_;
    }();
    std::vector<KernelUse> uses;
    for (const auto& [key, classes] : noted) {
        const bool linear = key.op == Op::linear;
        Shape shape = {.m = 1,
                       .n = key.n,
                       .k = key.k,
                       .head_dim = key.head_dim,
                       .n_heads = key.n_heads,
                       .n_kv_heads = key.n_kv_heads};
        const std::size_t last = linear ? std::max(row_class(kMostRows), *classes.rbegin()) : 1;
        bool first = true;
        for (std::size_t index = 1; index <= last; ++index) {
            shape.m = class_rows(index);
            const KernelChoice choice = selector.choose(
                key.op, key.format, linear ? Layout::gguf : Layout::none, key.out_layout, shape);
            if (choice.kernel == nullptr) continue;
            if (first || uses.back().choice.kernel != choice.kernel ||
                uses.back().choice.reason != choice.reason) {
                uses.push_back({.choice = choice, .shape = shape, .first_rows = shape.m});
                first = false;
            }
            KernelUse& use = uses.back();
            use.last_rows = linear ? class_rows(index + 1) - 1 : 0;
            use.ran |= classes.contains(index);
        }
    }
    return uses;
}

}  // namespace llmcore
