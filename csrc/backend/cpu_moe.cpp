// Mixture of experts on the CPU: rows are sorted by expert, so that an expert's weights are read once for all
// rows that go to it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu_backend.h"

namespace llmcore {

namespace {

// The n_used largest of `logits`, the first of equals first, and the weights of their softmax.
void choose(const float* logits, std::int64_t n, const MoeOp& op, std::int32_t* experts, float* weights,
            std::vector<bool>& taken) {
    taken.assign(static_cast<std::size_t>(n), false);
    const double largest = *std::max_element(logits, logits + n);
    double chosen_sum = 0.0;
    for (std::int64_t place = 0; place < op.n_used; ++place) {
        std::int64_t best = -1;
        for (std::int64_t e = 0; e < n; ++e)
            if (!taken[static_cast<std::size_t>(e)] && (best < 0 || logits[e] > logits[best])) best = e;
        taken[static_cast<std::size_t>(best)] = true;
        experts[place] = static_cast<std::int32_t>(best);
        weights[place] = static_cast<float>(std::exp(logits[best] - largest));
        chosen_sum += static_cast<double>(weights[place]);
    }
    double sum = chosen_sum;
    if (!op.normalized) {
        sum = 0.0;
        for (std::int64_t e = 0; e < n; ++e) sum += std::exp(logits[e] - largest);
    }
    const auto factor = static_cast<float>(static_cast<double>(op.scale) / sum);
    for (std::int64_t place = 0; place < op.n_used; ++place) weights[place] *= factor;
}

}  // namespace

// Which expert each row goes to; an assignment is a row at one of its experts, a slot its place once
// assignments are sorted by expert.
void CpuBackend::route(const MoeOp& op) {
    const BufferState& router = buffer(op.router);
    const std::int64_t rows = router.live_rows;
    const std::int64_t n_experts = router.cols;
    const auto count = static_cast<std::size_t>(rows * op.n_used);
    routing_.experts.resize(count);
    routing_.weights.resize(count);
    routing_.slots.resize(count);
    routing_.slot_rows.resize(count);
    routing_.expert_begin.assign(static_cast<std::size_t>(n_experts) + 1, 0);
    std::vector<bool> taken;
    for (std::int64_t row = 0; row < rows; ++row)
        choose(router.data() + row * n_experts, n_experts, op, routing_.experts.data() + row * op.n_used,
               routing_.weights.data() + row * op.n_used, taken);
    for (const std::int32_t expert : routing_.experts)
        ++routing_.expert_begin[static_cast<std::size_t>(expert) + 1];
    for (std::size_t e = 0; e < static_cast<std::size_t>(n_experts); ++e)
        routing_.expert_begin[e + 1] += routing_.expert_begin[e];
    std::vector<std::int64_t> next(routing_.expert_begin.begin(), routing_.expert_begin.end() - 1);
    for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t slot = next[static_cast<std::size_t>(routing_.experts[i])]++;
        routing_.slots[i] = slot;
        routing_.slot_rows[static_cast<std::size_t>(slot)] = static_cast<std::int64_t>(i) / op.n_used;
    }
}

// The packed rows of `input`, one a slot.
const std::byte* CpuBackend::gathered_rows(BufferState& input, const PackedForm& form) {
    const std::byte* packed = packed_rows(input, form);
    const auto n_slots = static_cast<std::int64_t>(routing_.slot_rows.size());
    const auto bytes = static_cast<std::size_t>(form.row_bytes);
    std::byte* target = grown(gathered_[form.layout], static_cast<std::size_t>(n_slots) * bytes);
    pool_.parallel_for(n_slots, 32, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t slot = begin; slot < end; ++slot)
            std::memcpy(target + slot * form.row_bytes,
                        packed + routing_.slot_rows[static_cast<std::size_t>(slot)] * form.row_bytes, bytes);
    });
    return target;
}

void CpuBackend::moe(const MoeOp& op) {
    BufferState& in = buffer(op.in);
    BufferState& gated = buffer(op.gated);
    BufferState& down_rows = buffer(op.down_rows);
    BufferState& out = buffer(op.out);
    route(op);
    const auto n_experts = static_cast<std::int64_t>(routing_.expert_begin.size()) - 1;
    const std::int64_t n_slots = routing_.expert_begin.back();

    // One job an expert that has rows: its matrix of `stack`, and its slots of the activations.
    std::map<const BufferState*, std::map<Layout, const std::byte*>> sources;
    const auto bind = [&](WeightState& stack, std::int64_t expert, BufferState& input, bool gather,
                          BufferState& output, const Kernel*& kernel, LinearArgs& args) {
        const std::int64_t n = stack.rows / n_experts;
        const std::int64_t first = routing_.expert_begin[static_cast<std::size_t>(expert)];
        const std::int64_t m = routing_.expert_begin[static_cast<std::size_t>(expert) + 1] - first;
        kernel = &linear_kernel(stack, m, n, true);
        const PackedForm& form = packed_form(input, kernel->act_layout);
        const std::byte*& source = sources[&input][form.layout];
        if (source == nullptr) source = gather ? gathered_rows(input, form) : packed_rows(input, form);
        args.weight = stack.bytes + expert * n * stack.row_bytes;
        args.weight_row_bytes = stack.row_bytes;
        args.act = source + first * form.row_bytes;
        args.act_row_bytes = form.row_bytes;
        args.out = output.data() + first * output.cols;
        args.out_stride = output.cols;
        args.out_offset = 0;
        args.m = m;
        args.n = n;
        args.k = stack.cols;
    };
    const auto bias_of = [&](Weight biases, std::int64_t expert) {
        return biases ? weight(biases).floats() + expert * weight(biases).cols : nullptr;
    };
    const auto for_each_expert = [&](auto make_job) {
        std::vector<LinearJob> jobs;
        for (std::int64_t expert = 0; expert < n_experts; ++expert) {
            if (routing_.expert_begin[static_cast<std::size_t>(expert)] ==
                routing_.expert_begin[static_cast<std::size_t>(expert) + 1])
                continue;
            LinearJob& job = jobs.emplace_back();
            make_job(job, expert);
            cut(job);
        }
        run_jobs(jobs);
    };

    for_each_expert([&](LinearJob& job, std::int64_t expert) {
        bind(weight(op.gate), expert, in, true, gated, job.kernel, job.args);
        bind(weight(op.up), expert, in, true, gated, job.up_kernel, job.up_args);
        job.bias = bias_of(op.gate_bias, expert);
        job.up_bias = bias_of(op.up_bias, expert);
        job.activation = op.activation;
    });
    gated.written(n_slots);
    for_each_expert([&](LinearJob& job, std::int64_t expert) {
        bind(weight(op.down), expert, gated, false, down_rows, job.kernel, job.args);
        job.bias = bias_of(op.down_bias, expert);
    });
    down_rows.written(n_slots);
    combine(op);
    out.written(in.live_rows);
}

void CpuBackend::combine(const MoeOp& op) {
    const BufferState& down_rows = buffer(op.down_rows);
    const BufferState& out = buffer(op.out);
    const float* residual = op.residual ? buffer(op.residual).data() : nullptr;
    const std::int64_t width = out.cols;
    pool_.parallel_for(buffer(op.in).live_rows, 8, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t row = begin; row < end; ++row) {
            float* sums = out.data() + row * width;
            if (residual == nullptr)
                std::fill_n(sums, width, 0.0F);
            else if (residual != out.data())
                std::copy_n(residual + row * width, width, sums);
            for (std::int64_t i = row * op.n_used; i < (row + 1) * op.n_used; ++i) {
                const float* values = down_rows.data() + routing_.slots[static_cast<std::size_t>(i)] * width;
                const float share = routing_.weights[static_cast<std::size_t>(i)];
                for (std::int64_t c = 0; c < width; ++c) sums[c] += share * values[c];
            }
        }
    });
}

}  // namespace llmcore
