#include "backend/split_backend.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace llmcore {

namespace {

// What an adapter changes on each side; null where it changes nothing.
class SplitAdapter final : public Adapter {
public:
    explicit SplitAdapter(std::array<std::shared_ptr<const Adapter>, 2> parts) : parts_(std::move(parts)) {}

    std::int64_t bytes() const override {
        std::int64_t bytes = 0;
        for (const auto& part : parts_) bytes += part == nullptr ? 0 : part->bytes();
        return bytes;
    }
    const Adapter* part(std::size_t side) const { return parts_[side].get(); }

private:
    std::array<std::shared_ptr<const Adapter>, 2> parts_;
};

}  // namespace

SplitBackend::SplitBackend(std::shared_ptr<Backend> front, std::shared_ptr<Backend> back, std::int64_t border)
    : sides_{std::move(front), std::move(back)}, border_(border) {
    const BackendInfo first = sides_[kFront]->info(), second = sides_[kBack]->info();
    if (first.kv_block_tokens != second.kv_block_tokens)
        fail(
            ErrorCode::model, "backend",
            "layers cannot be split between " + first.name + " and " + second.name + ": tokens of a KV block",
            std::to_string(first.kv_block_tokens) + " and " + std::to_string(second.kv_block_tokens),
            "as many");
}

BackendInfo SplitBackend::info() const {
    const BackendInfo front = sides_[kFront]->info(), back = sides_[kBack]->info();
    // Otherwise the side that counts operations is the slower one.
    const bool sized = front.step_tokens > 0 && back.step_tokens > 0;
    return {.name = front.name + " + " + back.name,
            .kv_block_tokens = front.kv_block_tokens,
            .threads = std::max(front.threads, back.threads),
            .memory_bytes = std::max(front.memory_bytes, back.memory_bytes),
            .step_tokens = sized ? std::min(front.step_tokens, back.step_tokens) : 0,
            .step_operations = std::max(front.step_operations, back.step_operations),
            .runs_encoders = front.runs_encoders && back.runs_encoders};
}

Buffer SplitBackend::alloc(std::int64_t rows, std::int64_t cols) {
    buffers_.push_back({.handles = {sides_[kFront]->alloc(rows, cols), sides_[kBack]->alloc(rows, cols)}});
    return {static_cast<std::int32_t>(buffers_.size()) - 1};
}

Weight SplitBackend::upload(const WeightView& view) {
    WeightState state;
    for (const std::size_t side : {kFront, kBack})
        if (reads(side, view.readers)) state[side] = sides_[side]->upload(view);
    weights_.push_back(state);
    return {static_cast<std::int32_t>(weights_.size()) - 1};
}

std::int64_t SplitBackend::weight_bytes(const WeightView& view) const {
    std::int64_t bytes = 0;
    for (const std::size_t side : {kFront, kBack})
        if (reads(side, view.readers)) bytes += sides_[side]->weight_bytes(view);
    return bytes;
}

bool SplitBackend::caches(Format format, std::int64_t head_dim) const {
    return sides_[kFront]->caches(format, head_dim) && sides_[kBack]->caches(format, head_dim);
}

// A causal model has a layer of the cache for each of its own, and more than one: it would not be split
// otherwise.
void SplitBackend::alloc_kv(const KvSpec& spec) {
    one_cache_layer_ = spec.n_layers == 1;
    KvSpec front = spec, back = spec;
    if (!one_cache_layer_) {
        front.n_layers = border_;
        back.n_layers = spec.n_layers - border_;
    }
    sides_[kFront]->alloc_kv(front);
    sides_[kBack]->alloc_kv(back);
}

std::shared_ptr<const Adapter> SplitBackend::make_adapter(std::span<const LowRankChange> changes) const {
    std::array<std::shared_ptr<const Adapter>, 2> parts;
    for (const std::size_t side : {kFront, kBack}) {
        std::vector<LowRankChange> own;
        for (const LowRankChange& change : changes) {
            const Weight weight = weights_[static_cast<std::size_t>(change.weight.id)][side];
            if (!weight) continue;
            own.push_back(change);
            own.back().weight = weight;
        }
        if (!own.empty()) parts[side] = sides_[side]->make_adapter(own);
    }
    return std::make_shared<SplitAdapter>(std::move(parts));
}

std::int64_t SplitBackend::kv_block_bytes() const {
    const std::int64_t front = sides_[kFront]->kv_block_bytes(), back = sides_[kBack]->kv_block_bytes();
    return front > 0 && back > 0 ? front + back : 0;
}

void SplitBackend::read_kv_block(std::int32_t block, std::byte* to) {
    sides_[kFront]->read_kv_block(block, to);
    sides_[kBack]->read_kv_block(block, to + sides_[kFront]->kv_block_bytes());
}

void SplitBackend::write_kv_block(std::int32_t block, const std::byte* from) {
    sides_[kFront]->write_kv_block(block, from);
    sides_[kBack]->write_kv_block(block, from + sides_[kFront]->kv_block_bytes());
}

void SplitBackend::copy_kv_block(std::int32_t from, std::int32_t to) {
    for (const auto& side : sides_) side->copy_kv_block(from, to);
}

ThreadPool* SplitBackend::threads() {
    const bool front = sides_[kFront]->info().memory_bytes == 0;
    return sides_[front ? kFront : kBack]->threads();
}

void SplitBackend::begin(const Batch& batch) {
    side_ = kFront;
    crossed_ = false;
    for (BufferState& state : buffers_) state.side = kFront;
    for (const std::size_t side : {kFront, kBack}) {
        adapters_[side].clear();
        for (const Adapter* adapter : batch.adapters)
            adapters_[side].push_back(
                adapter == nullptr ? nullptr : static_cast<const SplitAdapter*>(adapter)->part(side));
        Batch own = batch;
        own.adapters = adapters_[side];
        sides_[side]->begin(own);
    }
}

void SplitBackend::write_rows(Buffer to, std::span<const float> values) {
    here().write_rows(written(to), values);
}

// A step goes through the front's layers and then through the back's: a weight that the front lacks is where
// it moves on.
void SplitBackend::enter_side_of(Weight weight) {
    if (side_ == kFront && !weights_[static_cast<std::size_t>(weight.id)][kFront]) side_ = kBack;
}

Weight SplitBackend::local(Weight weight) const {
    if (!weight) return {};
    const Weight found = weights_[static_cast<std::size_t>(weight.id)][side_];
    if (!found) fail(ErrorCode::internal, "backend", "a step reads a weight that is not on its side");
    return found;
}

Buffer SplitBackend::read(Buffer buffer) {
    if (!buffer) return {};
    BufferState& state = buffers_[static_cast<std::size_t>(buffer.id)];
    if (state.side != side_) {
        // Ending the front's part of the step is what makes its rows; it cannot go on then.
        if (crossed_) fail(ErrorCode::internal, "backend", "a second buffer crosses the border of a step");
        crossed_ = true;
        here().write_rows(state.handles[side_], sides_[kFront]->end(state.handles[kFront]));
        state.side = side_;
    }
    return state.handles[side_];
}

Buffer SplitBackend::written(Buffer buffer) {
    BufferState& state = buffers_[static_cast<std::size_t>(buffer.id)];
    state.side = side_;
    return state.handles[side_];
}

std::int64_t SplitBackend::local_layer(std::int64_t layer) const {
    return side_ == kFront || one_cache_layer_ ? layer : layer - border_;
}

// Handles that are read come before those that are written: a buffer may be both.
void SplitBackend::embed(const EmbedOp& op) {
    enter_side_of(op.table);
    EmbedOp own = op;
    own.table = local(op.table);
    own.positions = local(op.positions);
    own.types = local(op.types);
    own.out = written(op.out);
    here().embed(own);
}

void SplitBackend::norm(const NormOp& op) {
    enter_side_of(op.weight);
    NormOp own = op;
    own.in = read(op.in);
    own.residual = read(op.residual);
    own.weight = local(op.weight);
    own.bias = local(op.bias);
    own.out = written(op.out);
    here().norm(own);
}

LinearOp SplitBackend::local(const LinearOp& op) {
    LinearOp own = op;
    own.in = read(op.in);
    own.residual = read(op.residual);
    own.gate = read(op.gate);
    own.weight = local(op.weight);
    own.bias = local(op.bias);
    own.up = local(op.up);
    own.up_bias = local(op.up_bias);
    own.out = written(op.out);
    return own;
}

void SplitBackend::linear(std::span<const LinearOp> ops) {
    linear_ops_.clear();
    for (const LinearOp& op : ops) {
        enter_side_of(op.weight);
        linear_ops_.push_back(local(op));
    }
    here().linear(linear_ops_);
}

void SplitBackend::moe(const MoeOp& op) {
    enter_side_of(op.gate);
    MoeOp own = op;
    own.in = read(op.in);
    own.router = read(op.router);
    own.residual = read(op.residual);
    own.gate = local(op.gate);
    own.up = local(op.up);
    own.down = local(op.down);
    own.gate_bias = local(op.gate_bias);
    own.up_bias = local(op.up_bias);
    own.down_bias = local(op.down_bias);
    own.gated = written(op.gated);
    own.down_rows = written(op.down_rows);
    own.out = written(op.out);
    here().moe(own);
}

// These follow products of their layer, which have moved the step to where it belongs.
void SplitBackend::rope_store(const RopeStoreOp& op) {
    RopeStoreOp own = op;
    own.q = read(op.q);
    own.k = read(op.k);
    own.v = read(op.v);
    own.layer = local_layer(op.layer);
    own.inv_freq = local(op.inv_freq);
    own.q_norm = local(op.q_norm);
    own.k_norm = local(op.k_norm);
    here().rope_store(own);
}

void SplitBackend::attention(const AttentionOp& op) {
    AttentionOp own = op;
    own.q = read(op.q);
    own.layer = local_layer(op.layer);
    own.sinks = local(op.sinks);
    own.out = written(op.out);
    here().attention(own);
}

void SplitBackend::gather_logit_rows(Buffer in, Buffer out) {
    const Buffer from = read(in);
    here().gather_logit_rows(from, written(out));
}

std::span<const float> SplitBackend::end(Buffer result) { return here().end(read(result)); }

std::vector<KernelUse> SplitBackend::kernel_uses() const {
    std::vector<KernelUse> uses = sides_[kFront]->kernel_uses();
    const std::vector<KernelUse> others = sides_[kBack]->kernel_uses();
    uses.insert(uses.end(), others.begin(), others.end());
    return uses;
}

}  // namespace llmcore
