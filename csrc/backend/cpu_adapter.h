// Low-rank changes of matrices as the CPU backend keeps them: the file's values, in one piece of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/memory.h"

namespace llmcore {

class CpuAdapter final : public Adapter {
public:
    struct Part {
        Format a_format = Format::none;
        Format b_format = Format::none;
        const std::byte* a = nullptr;  // [rank][columns]
        const std::byte* b = nullptr;  // [rows][rank]
        std::int64_t rank = 0;
        float scale = 1.0F;
    };

    explicit CpuAdapter(std::span<const LowRankChange> changes);

    std::int64_t bytes() const override { return static_cast<std::int64_t>(memory_.size()); }

    // The change of that matrix, or null.
    const Part* part(Weight weight) const {
        const auto id = static_cast<std::size_t>(weight.id);
        return id < by_weight_.size() && by_weight_[id] >= 0
                   ? &parts_[static_cast<std::size_t>(by_weight_[id])]
                   : nullptr;
    }

private:
    PageBuffer memory_;
    std::vector<Part> parts_;
    std::vector<std::int32_t> by_weight_;  // index into parts_, or -1
};

}  // namespace llmcore
