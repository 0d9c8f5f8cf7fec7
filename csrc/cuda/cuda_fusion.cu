// What an operation may leave to those that read its results: found by looking ahead in the step.
#include <algorithm>
#include <initializer_list>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/gemv.h"

namespace llmcore::cuda {

namespace {

bool writes(const LinearGroup& group, Buffer buffer) {
    return std::any_of(group.ops.begin(), group.ops.end(),
                       [&](const LinearOp& op) { return op.out.id == buffer.id; });
}

bool reads(const LinearGroup& group, Buffer buffer) {
    return std::any_of(group.ops.begin(), group.ops.end(), [&](const LinearOp& op) {
        return op.in.id == buffer.id || op.residual.id == buffer.id || op.gate.id == buffer.id;
    });
}

bool is_any(Buffer buffer, std::initializer_list<Buffer> among) {
    return std::any_of(among.begin(), among.end(), [&](Buffer other) { return other.id == buffer.id; });
}

bool touches(const EmbedOp& op, Buffer buffer) { return is_any(buffer, {op.out}); }
bool touches(const NormOp& op, Buffer buffer) { return is_any(buffer, {op.in, op.residual, op.out}); }
bool touches(const LinearGroup& group, Buffer buffer) {
    return reads(group, buffer) || writes(group, buffer);
}
bool touches(const MoeOp& op, Buffer buffer) {
    return is_any(buffer, {op.in, op.router, op.gated, op.down_rows, op.residual, op.out});
}
bool touches(const RopeStoreOp& op, Buffer buffer) { return is_any(buffer, {op.q, op.k, op.v}); }
bool touches(const AttentionOp& op, Buffer buffer) { return is_any(buffer, {op.q, op.out}); }
bool touches(const GatherOp& op, Buffer buffer) { return is_any(buffer, {op.in, op.out}); }

}  // namespace

bool CudaBackend::takes_norm(const LinearOp& op) { return weight(op.weight).packing != Packing::f32; }

// Whether all that read a norm's rows are products, which can take the norm themselves, before its input
// changes.
bool CudaBackend::readers_take_norm(const NormOp& op, std::size_t index) {
    if (op.residual || op.in.id == op.out.id || op.out.id == key_.result) return false;
    bool input_changed = false;
    for (std::size_t later = index + 1; later < operations_.size(); ++later) {
        const Operation& operation = operations_[later];
        if (const auto* group = std::get_if<LinearGroup>(&operation)) {
            if (reads(*group, op.out)) {
                if (input_changed) return false;
                for (const LinearOp& linear : group->ops) {
                    if (linear.residual.id == op.out.id || linear.gate.id == op.out.id) return false;
                    if (linear.in.id == op.out.id && !takes_norm(linear)) return false;
                }
            }
            if (writes(*group, op.in)) input_changed = true;
        } else if (const auto* norm = std::get_if<NormOp>(&operation)) {
            if (norm->in.id == op.out.id || norm->residual.id == op.out.id) return false;
            if (norm->out.id == op.out.id) return true;
            if (norm->out.id == op.in.id) input_changed = true;
        } else if (const auto* experts = std::get_if<MoeOp>(&operation)) {
            if (experts->in.id == op.out.id || experts->residual.id == op.out.id) return false;
            if (experts->out.id == op.in.id) input_changed = true;
        } else if (const auto* gather = std::get_if<GatherOp>(&operation)) {
            if (gather->in.id == op.out.id) return false;
            if (gather->out.id == op.in.id) input_changed = true;
        }
    }
    return true;
}

// Whether the product reads an input of so many rows as bf16.
bool CudaBackend::takes_packed(const LinearOp& op, std::int64_t rows) {
    const WeightState& matrix = weight(op.weight);
    return matrix.packing != Packing::f32 && rows > gemv_rows(limits_, matrix.packing, matrix.cols);
}

// Whether a product's results can be written as the input of those that read them, and as nothing else.
bool CudaBackend::writes_packed(const LinearOp& op, std::size_t index) {
    const BufferState& out = buffer(op.out);
    const std::int64_t rows = buffer(op.in).live_rows;
    if (recorder_ != nullptr || !takes_packed(op, rows) || op.residual || op.out.id == key_.result ||
        out.cols % kTileCols != 0 || weight(op.weight).rows != out.cols)
        return false;
    const auto packed_reader = [&](const LinearOp& reader) {
        return takes_packed(reader, rows) &&
               (!reader.up || weight(reader.up).packing == weight(reader.weight).packing) &&
               reader.residual.id != op.out.id && reader.gate.id != op.out.id;
    };
    bool is_read = false;
    for (std::size_t later = index + 1; later < operations_.size(); ++later) {
        const auto* group = std::get_if<LinearGroup>(&operations_[later]);
        if (group == nullptr) {
            if (std::visit([&](const auto& other) { return touches(other, op.out); }, operations_[later]))
                return false;
            continue;
        }
        if (reads(*group, op.out)) {
            for (const LinearOp& reader : group->ops)
                if (!packed_reader(reader)) return false;
            is_read = true;
        }
        if (writes(*group, op.out)) return is_read;
    }
    return is_read;
}

}  // namespace llmcore::cuda
