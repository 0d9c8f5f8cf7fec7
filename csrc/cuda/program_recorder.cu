#include "cuda/program_recorder.h"

#include <algorithm>
#include <cstring>

namespace llmcore::cuda {

namespace {

bool meet(const std::vector<const void*>& some, const std::vector<const void*>& others) {
    return std::any_of(some.begin(), some.end(), [&](const void* place) {
        return place != nullptr && std::find(others.begin(), others.end(), place) != others.end();
    });
}

bool is_supported(const RopeStoreArgs& rope, const AttentionStepArgs& attention) {
    const KvLayer& kv = attention.kv;
    return kv.format == Format::F16 && kv.head_dim % 8 == 0 && kv.head_dim <= 2 * kMostProgramPairs &&
           rope.rope_dims <= kv.head_dim && rope.kv.base == kv.base && rope.q == attention.q &&
           rope.n_heads == attention.n_heads && attention.n_heads % kv.n_kv_heads == 0 &&
           attention.n_rows == 1 && attention.n_tiles == 0;
}

ProgramPhase phase_of(PhaseKind kind) {
    ProgramPhase phase;
    std::memset(static_cast<void*>(&phase), 0, sizeof phase);
    phase.kind = kind;
    return phase;
}

}  // namespace

void ProgramRecorder::add(ProgramPhase phase, const Places& reads, const Places& writes) {
    phase.waits = meet(reads, written_) || meet(writes, written_) || meet(writes, read_);
    if (phase.waits) {
        read_.clear();
        written_.clear();
        next_block_ = 0;
    }
    if (phase.kind == PhaseKind::products) {
        if (!phase.waits) share_input(phase.products);
        phase.products.first_block = next_block_;
        next_block_ = (next_block_ + phase.products.n_units) % n_blocks_;
    }
    read_.insert(read_.end(), reads.begin(), reads.end());
    written_.insert(written_.end(), writes.begin(), writes.end());
    phases_.push_back(phase);
}

// What the phase before has packed may serve this one too.
void ProgramRecorder::share_input(ProductsPhase& phase) const {
    if (phases_.empty() || phases_.back().kind != PhaseKind::products) return;
    const ProductsPhase& before = phases_.back().products;
    phase.packs = before.input.rows != phase.input.rows || before.input.k != phase.input.k ||
                  before.input.norm_weight != phase.input.norm_weight ||
                  before.input.norm_eps != phase.input.norm_eps ||
                  before.traits.group != phase.traits.group || before.traits.zero != phase.traits.zero ||
                  before.traits.has_min != phase.traits.has_min;
}

void ProgramRecorder::products(Packing packing, const MatmulArgs& matmul, const PackInput& input) {
    ProgramPhase phase = phase_of(PhaseKind::products);
    if (is_refused_ || rope_ || !fill_products(phase.products, packing, matmul, input)) return refuse();
    Places reads = {input.rows};
    Places writes;
    for (int job = 0; job < matmul.n_jobs; ++job) {
        reads.insert(reads.end(),
                     {matmul.jobs[job].residual, matmul.jobs[job].gate, matmul.jobs[job].up_sums});
        writes.push_back(matmul.jobs[job].out);
    }
    if (meet({input.rows}, writes)) return refuse();
    add(phase, reads, writes);
}

void ProgramRecorder::norm(const NormRowsArgs& args) {
    if (is_refused_ || args.m != 1) return refuse();
    ProgramPhase phase = phase_of(PhaseKind::row);
    phase.row.norm = args;
    add(phase, {args.x, args.residual}, {args.out});
}

void ProgramRecorder::gather(const GatherRowsArgs& args) {
    if (is_refused_ || args.m != 1 || args.added != nullptr) return refuse();
    ProgramPhase phase = phase_of(PhaseKind::row);
    phase.row.norm = {.x = args.in,
                      .x_stride = args.in_stride,
                      .weight = nullptr,
                      .residual = nullptr,
                      .out = args.out,
                      .out_stride = args.out_stride,
                      .m = 1,
                      .n = args.n,
                      .eps = 0.0F};
    phase.row.rows = args.rows;
    add(phase, {args.in}, {args.out});
}

void ProgramRecorder::rope_store(const RopeStoreArgs& args) {
    if (is_refused_ || rope_) return refuse();
    rope_ = args;
}

int ProgramRecorder::turns_of(const RopeStoreArgs& rope) {
    if (rope.style == RopeStyle::none) return 0;
    const auto found = std::find_if(turns_.begin(), turns_.end(), [&](const ProgramTurns& known) {
        return known.inv_freq == rope.inv_freq && known.magnitude == rope.magnitude &&
               known.n == rope.rope_dims / 2;
    });
    if (found != turns_.end()) return static_cast<int>(found - turns_.begin());
    turns_.push_back({rope.inv_freq, rope.magnitude, rope.rope_dims / 2});
    return static_cast<int>(turns_.size()) - 1;
}

void ProgramRecorder::attention(const AttentionStepArgs& args) {
    if (is_refused_ || !rope_ || !is_supported(*rope_, args)) return refuse();
    ProgramPhase phase = phase_of(PhaseKind::attention);
    AttentionStepArgs& attention = phase.attention.attention;
    attention = args;
    if (args.workspace == nullptr) attention.n_splits = 1;
    const int group = args.n_heads / args.kv.n_kv_heads;
    const int of_heads = args.kv.n_kv_heads * ((group + kProgramQueries - 1) / kProgramQueries);
    while (attention.n_splits > 1 && attention.n_splits * of_heads > n_blocks_) attention.n_splits /= 2;
    phase.attention.rope = *rope_;
    phase.attention.turns = turns_of(*rope_);
    add(phase, {args.q, rope_->k, rope_->v, args.kv.base}, {args.out, args.kv.base});
    rope_.reset();
}

bool ProgramRecorder::finish(const DeviceLimits& limits, const StepView& step, ProgramArgs& args) const {
    if (is_refused_ || phases_.empty() || rope_ || turns_.size() > kMostProgramTurns) return false;
    args = {};
    args.step = step;
    std::copy(turns_.begin(), turns_.end(), args.turns);
    args.n_turns = static_cast<std::int32_t>(turns_.size());
    args.n_phases = static_cast<std::int32_t>(phases_.size());
    return fit_program(limits, phases_, args);
}

}  // namespace llmcore::cuda
