#include "backend/memory_probe.h"

#include <algorithm>

#include "base/error.h"
#include "quant/format_table.h"

namespace llmcore {

void MemoryProbe::refuse() { fail(ErrorCode::internal, "backend", "nothing runs while memory is counted"); }

Buffer MemoryProbe::alloc(std::int64_t rows, std::int64_t cols) {
    need_.activations += rows * cols * static_cast<std::int64_t>(sizeof(float));
    return {handles_++};
}

Weight MemoryProbe::upload(const WeightView& view) {
    const std::int64_t bytes = device_->weight_bytes(view);
    if (view.readers.last == LayerSpan::kEmbedding)
        need_.embedding += bytes;
    else if (view.readers.last == LayerSpan::kHead)
        need_.head += bytes;
    else
        need_.layers.at(static_cast<std::size_t>(view.readers.last)) += bytes;
    need_.largest_weight = std::max(need_.largest_weight, view.rows * row_bytes(view.stored, view.cols));
    return {handles_++};
}

}  // namespace llmcore
