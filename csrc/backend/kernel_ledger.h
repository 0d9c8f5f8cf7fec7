// What a backend has chosen kernels for, so that people can see it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "backend/backend.h"
#include "kernels/registry.h"

namespace llmcore {

// Linear kernels are chosen for classes of activation rows: each number up to 64, above by powers of two.
std::size_t row_class(std::int64_t m);
// The fewest rows of a class: the kernel is chosen for these, whichever number comes first.
std::int64_t class_rows(std::size_t index);

class KernelLedger {
public:
    // An operation came for the first time, for rows of that class where it is linear. From one thread.
    void note(Op op, Format format, Layout out_layout, const Shape& shape);

    // What `selector` chooses for everything noted; of linear operations for all classes up to those of the
    // largest steps, equal neighbours joined. From any thread.
    std::vector<KernelUse> uses(const KernelSelector& selector) const;

private:
    struct Key {
        Op op;
        Format format;
        Layout out_layout;
        std::int64_t n, k, head_dim, n_heads, n_kv_heads;
        auto operator<=>(const Key&) const = default;
    };

    mutable std::mutex mutex_;
    std::map<Key, std::set<std::size_t>> noted_;  // with the classes of rows that came
};

}  // namespace llmcore
