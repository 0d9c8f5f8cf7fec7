// Steps whose rows have adapters: what a low-rank change adds to each product, for the rows that have it.
#include "backend/cpu_adapter.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "backend/cpu_backend.h"
#include "base/ceil_div.h"
#include "base/error.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr std::size_t kAlign = 64;
constexpr std::int64_t kLowChunkRows = 8;  // rows of A that a thread takes at a time

std::size_t view_bytes(const WeightView& view) {
    return static_cast<std::size_t>(view.rows * row_bytes(view.format, view.cols));
}

std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

CpuAdapter::CpuAdapter(std::span<const LowRankChange> changes) {
    // Matrices that were one in the file have their A in common.
    std::map<const void*, std::size_t> offsets;
    std::size_t total = 0;
    for (const LowRankChange& change : changes) {
        for (const WeightView* view : {&change.a, &change.b})
            if (offsets.emplace(view->data, total).second) total += aligned(view_bytes(*view));
    }
    memory_ = PageBuffer(total);
    const auto copied = [&](const WeightView& view) {
        std::byte* place = memory_.data() + offsets.at(view.data);
        std::memcpy(place, view.data, view_bytes(view));
        return place;
    };
    for (const LowRankChange& change : changes) {
        const auto id = static_cast<std::size_t>(change.weight.id);
        if (by_weight_.size() <= id) by_weight_.resize(id + 1, -1);
        by_weight_[id] = static_cast<std::int32_t>(parts_.size());
        parts_.push_back({.a_format = change.a.format,
                          .b_format = change.b.format,
                          .a = copied(change.a),
                          .b = copied(change.b),
                          .rank = change.a.rows,
                          .scale = change.scale});
    }
}

std::shared_ptr<const Adapter> CpuBackend::make_adapter(std::span<const LowRankChange> changes) const {
    return std::make_shared<CpuAdapter>(changes);
}

void CpuBackend::note_adapters(const Batch& batch) {
    adapted_.clear();
    for (std::size_t s = 0; s < batch.adapters.size(); ++s) {
        if (batch.adapters[s] == nullptr) continue;
        const auto* adapter = static_cast<const CpuAdapter*>(batch.adapters[s]);
        auto same = std::find_if(adapted_.begin(), adapted_.end(),
                                 [&](const AdaptedRows& rows) { return rows.adapter == adapter; });
        if (same == adapted_.end()) same = adapted_.insert(same, AdaptedRows{adapter, {}, {}});
        const std::int32_t first = batch.row_starts[s];
        const std::int32_t end = batch.row_starts[s + 1];
        for (std::int32_t row = first; row < end; ++row) same->rows.push_back(row);
        const auto wanted = [&](std::int32_t row) {
            return std::lower_bound(batch.logit_rows.begin(), batch.logit_rows.end(), row) -
                   batch.logit_rows.begin();
        };
        for (auto place = wanted(first); place < wanted(end); ++place)
            same->logit_rows.push_back(static_cast<std::int32_t>(place));
    }
}

// Kernels that read float rows as they are: a change is too small to be worth packing for.
const Kernel& CpuBackend::float_kernel(Format format, const Shape& shape) {
    const Kernel*& best = float_kernels_[{format, shape.m, shape.n, shape.k}];
    if (best != nullptr) return *best;
    for (const Kernel* kernel : selector_.usable()) {
        const bool fits = kernel->op == Op::linear && kernel->weight_format == format &&
                          kernel->weight_layout == Layout::gguf && kernel->act_layout == Layout::f32 &&
                          kernel->out_layout == Layout::f32 && kernel->supports(&shape);
        if (fits && (best == nullptr || kernel->cost(&shape) < best->cost(&shape))) best = kernel;
    }
    if (best == nullptr)
        fail(ErrorCode::model, "backend", "no kernel for a low-rank change", format_info(format).name,
             "F32, F16 or BF16");
    return *best;
}

// Rows of `input` one after the other: where they lie, or copied to `room` if there are others between them.
const float* CpuBackend::rows_of(const BufferState& input, std::span<const std::int32_t> rows,
                                 PageBuffer& room) {
    const float* first = input.data() + rows.front() * input.cols;
    if (rows.back() - rows.front() + 1 == static_cast<std::int32_t>(rows.size())) return first;
    const std::size_t bytes = static_cast<std::size_t>(input.cols) * sizeof(float);
    auto* copied = reinterpret_cast<float*>(grown(room, rows.size() * bytes));
    for (std::size_t i = 0; i < rows.size(); ++i)
        std::memcpy(copied + static_cast<std::int64_t>(i) * input.cols, input.data() + rows[i] * input.cols,
                    bytes);
    return copied;
}

// The place in low_products_ of what this part makes of these rows; made once for all that need it.
std::size_t CpuBackend::low_product(const CpuAdapter::Part& part, const float* rows, std::int64_t m,
                                    std::int64_t cols) {
    for (std::size_t i = 0; i < low_products_.size(); ++i)
        if (low_products_[i].part->a == part.a && low_products_[i].args.act == rows) return i;
    LowProduct& made = low_products_.emplace_back();
    made.part = &part;
    made.kernel = &float_kernel(part.a_format, {.m = m, .n = part.rank, .k = cols});
    made.args.weight = part.a;
    made.args.weight_row_bytes = row_bytes(part.a_format, cols);
    made.args.act = rows;
    made.args.act_row_bytes = cols * static_cast<std::int64_t>(sizeof(float));
    made.args.out_stride = part.rank;
    made.args.out_offset = 0;
    made.args.m = m;
    made.args.n = part.rank;
    made.args.k = cols;
    made.offset = low_rows_.size();
    low_rows_.resize(low_rows_.size() + static_cast<std::size_t>(m * part.rank));
    return low_products_.size() - 1;
}

void CpuBackend::run_low_products() {
    std::int64_t total = 0;
    std::int64_t work = 0;
    for (LowProduct& low : low_products_) {
        low.args.out = low_rows_.data() + low.offset;
        low.first_chunk = total;
        total += ceil_div(low.args.n, kLowChunkRows);
        work += low.args.m * low.args.n * low.args.k;
    }
    const std::int64_t chunks_at_once = work < kInlineWork ? total : 1;
    pool_.parallel_for(total, chunks_at_once, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t index = begin; index < end; ++index) {
            const auto after = std::upper_bound(
                low_products_.begin(), low_products_.end(), index,
                [](std::int64_t chunk, const LowProduct& low) { return chunk < low.first_chunk; });
            const LowProduct& low = *(after - 1);
            const std::int64_t first = (index - low.first_chunk) * kLowChunkRows;
            const std::int64_t last = std::min(low.args.n, first + kLowChunkRows);
            run(*low.kernel, {.m = low.args.m, .n = low.args.n, .k = low.args.k}, low.args, first, last,
                worker);
            for (std::int64_t row = 0; row < low.args.m; ++row)
                for (std::int64_t i = first; i < last; ++i)
                    low.args.out[row * low.args.out_stride + i] *= low.part->scale;
        }
    });
}

// Gives each job the changes of its matrices, their first halves done.
void CpuBackend::plan_changes(std::span<const LinearOp> ops, std::vector<LinearJob>& jobs) {
    low_products_.clear();
    low_rows_.clear();
    const auto change = [&](const AdaptedRows& adapted, std::span<const std::int32_t> rows, Weight matrix,
                            const float* inputs, const LinearArgs& product, std::vector<RowChange>& changes) {
        const CpuAdapter::Part* part = adapted.adapter->part(matrix);
        if (part == nullptr) return;
        const auto m = static_cast<std::int64_t>(rows.size());
        RowChange& made = changes.emplace_back();
        made.kernel = &float_kernel(part->b_format, {.m = m, .n = product.n, .k = part->rank});
        made.rows = rows;
        made.low_product = low_product(*part, inputs, m, product.k);
        made.args.weight = part->b;
        made.args.weight_row_bytes = row_bytes(part->b_format, part->rank);
        made.args.act_row_bytes = part->rank * static_cast<std::int64_t>(sizeof(float));
        made.args.m = m;
        made.args.n = product.n;
        made.args.k = part->rank;
    };
    // Copies of rows, one an input and adapter; the places stay as they are while the list is filled.
    std::map<std::pair<std::int32_t, const CpuAdapter*>, const float*> inputs;
    gathered_inputs_.resize(std::max(gathered_inputs_.size(), ops.size() * adapted_.size()));
    std::size_t job = 0;
    for (const LinearOp& op : ops) {
        const BufferState& in = buffer(op.in);
        if (in.live_rows == 0) continue;
        LinearJob& planned = jobs[job++];
        for (const AdaptedRows& adapted : adapted_) {
            const std::span<const std::int32_t> rows = in.of_logit_rows ? adapted.logit_rows : adapted.rows;
            if (rows.empty()) continue;
            const float*& source = inputs[{op.in.id, adapted.adapter}];
            if (source == nullptr) source = rows_of(in, rows, gathered_inputs_[inputs.size() - 1]);
            change(adapted, rows, op.weight, source, planned.args, planned.changes);
            if (op.up) change(adapted, rows, op.up, source, planned.up_args, planned.up_changes);
        }
    }
    if (low_products_.empty()) return;
    run_low_products();
    for (LinearJob& planned : jobs)
        for (std::vector<RowChange>* changes : {&planned.changes, &planned.up_changes})
            for (RowChange& made : *changes) made.args.act = low_products_[made.low_product].args.out;
}

// Adds columns [begin, end) of a change to `values`, as wide as those; `added` has room for as many.
void CpuBackend::add_change(const RowChange& change, std::int64_t begin, std::int64_t end, float* values,
                            float* added, int worker) {
    const std::int64_t width = end - begin;
    LinearArgs args = change.args;
    args.out = added;
    args.out_stride = width;
    args.out_offset = begin;
    run(*change.kernel, {.m = args.m, .n = args.n, .k = args.k}, args, begin, end, worker);
    for (std::size_t i = 0; i < change.rows.size(); ++i) {
        float* row = values + change.rows[i] * width;
        const float* addend = added + static_cast<std::int64_t>(i) * width;
        for (std::int64_t c = 0; c < width; ++c) row[c] += addend[c];
    }
}

}  // namespace llmcore
