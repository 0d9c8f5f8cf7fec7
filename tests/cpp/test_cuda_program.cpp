// A step of one row as one kernel, against the same operations as launches of their own. Runs through the
// emulation, and compiled by nvcc on a device.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "cuda/kernels/gemv.h"
#include "cuda/packed/repack.h"
#include "cuda/program_recorder.h"
#include "device_array.h"
#include "harness.h"
#include "quant/half.h"
#include "random_weights.h"

namespace llmcore::test {

namespace {

using namespace llmcore::cuda;

// The recorder's calls, launched at once.
struct Launches {
    Stream stream = {};
    DeviceLimits limits = device_limits();

    void products(Packing packing, const MatmulArgs& matmul, const PackInput& input) {
        gemv(stream, limits, packing, {.matmul = matmul, .input = input, .packed = nullptr});
    }
    void norm(const NormRowsArgs& args) { norm_rows(stream, args); }
    void gather(const GatherRowsArgs& args) { gather_rows(stream, args); }
    void rope_store(const RopeStoreArgs& args) { cuda::rope_store(stream, args); }
    void attention(const AttentionStepArgs& args) { attention_decode(stream, args); }
};

struct Shape {
    int hidden = 512;
    int ffn = 768;
    int vocab = 200;
    int n_heads = 8;
    int n_kv_heads = 2;
    int head_dim = 64;
    int n_layers = 2;
    int position = 70;
    int n_splits = 1;
    Format format = Format::Q4_0;
    Format other = Format::Q4_0;  // of v, down and the head
    RopeStyle style = RopeStyle::halves;
    bool with_head_norms = false;
    bool with_norm_after = false;
    bool with_bias = false;
    int window = 0;
    float softcap = 0;
};

struct Matrix {
    const unsigned char* data;
    Packing packing;
    int n, k;
};

struct Layer {
    const float *attn_norm, *ffn_norm, *norm_after, *q_norm, *k_norm, *q_bias;
    Matrix q, k, v, o, gate, up, down;
    std::unique_ptr<DeviceArray<std::uint16_t>> cache;
};

// Random weights and the state of a step, the same for the same shape.
class Model {
public:
    explicit Model(const Shape& given) : shape(given) {
        const int q_size = shape.n_heads * shape.head_dim;
        const int kv_size = shape.n_kv_heads * shape.head_dim;
        x_ = floats(shape.hidden, 0.0F);
        for (int i = 0; i < shape.n_layers; ++i) {
            Layer layer = {};
            layer.attn_norm = floats(shape.hidden, 1.0F);
            layer.ffn_norm = floats(shape.hidden, 1.0F);
            layer.norm_after = floats(shape.hidden, 1.0F);
            layer.q_norm = floats(shape.head_dim, 1.0F);
            layer.k_norm = floats(shape.head_dim, 1.0F);
            layer.q_bias = floats(q_size, 0.0F);
            layer.q = matrix(shape.format, q_size, shape.hidden);
            layer.k = matrix(shape.format, kv_size, shape.hidden);
            layer.v = matrix(shape.other, kv_size, shape.hidden);
            layer.o = matrix(shape.format, shape.hidden, q_size);
            layer.gate = matrix(shape.format, shape.ffn, shape.hidden);
            layer.up = matrix(shape.format, shape.ffn, shape.hidden);
            layer.down = matrix(shape.other, shape.hidden, shape.ffn);
            layer.cache = cache();
            layers_.push_back(std::move(layer));
        }
        head_ = matrix(shape.other, shape.vocab, shape.hidden);
        out_norm_ = floats(shape.hidden, 1.0F);
        last_ = floats(shape.hidden, 0.0F);
        q_ = floats(q_size, 0.0F);
        k_ = floats(kv_size, 0.0F);
        v_ = floats(kv_size, 0.0F);
        attended_ = floats(q_size, 0.0F);
        block_out_ = floats(shape.hidden, 0.0F);
        gated_ = floats(shape.ffn, 0.0F);
        logits_ = floats(shape.vocab, 0.0F);
        std::vector<float> frequencies;
        for (int i = 0; i < shape.head_dim / 2; ++i)
            frequencies.push_back(std::pow(10000.0F, -2.0F * static_cast<float>(i) / shape.head_dim));
        inv_freq_ = keep(frequencies);
        make_step();
    }

    // Every operation of the step, into a recorder or launched.
    template <class Operations>
    void run(Operations& operations) {
        for (const Layer& layer : layers_) {
            run_attention(operations, layer);
            MatmulArgs gated = matmul(shape.hidden);
            add(gated, layer.gate, gated_, nullptr);
            gated.jobs[0].up = layer.up.data;
            gated.jobs[0].activation = Activation::silu;
            operations.products(layer.gate.packing, gated, input(x_, shape.hidden, layer.ffn_norm));
            MatmulArgs down = matmul(shape.ffn);
            add(down, layer.down, x_, x_);
            operations.products(layer.down.packing, down, input(gated_, shape.ffn, nullptr));
        }
        operations.gather({.in = x_,
                           .in_stride = shape.hidden,
                           .rows = step_.logit_rows,
                           .added = nullptr,
                           .out = last_,
                           .out_stride = shape.hidden,
                           .m = 1,
                           .n = shape.hidden});
        MatmulArgs head = matmul(shape.hidden);
        add(head, head_, logits_, nullptr);
        head.jobs[0].softcap = shape.softcap;
        operations.products(head_.packing, head, input(last_, shape.hidden, out_norm_));
    }

    ProgramArgs program_of(ProgramRecorder& recorder) {
        run(recorder);
        ProgramArgs args = {};
        CHECK(recorder.finish(device_limits(), step_, args));
        args.arrived = reinterpret_cast<std::uint32_t*>(step_parts_->data());
        return args;
    }

    std::vector<float> logits() const { return values_of(logits_); }
    std::vector<std::uint16_t> cache_of(std::size_t layer) const { return layers_[layer].cache->read(); }

    const Shape shape;

private:
    float* keep(const std::vector<float>& values) {
        return floats_.emplace_back(std::make_unique<DeviceArray<float>>(values))->data();
    }
    float* floats(int count, float middle) {
        std::vector<float> values(static_cast<std::size_t>(count));
        for (float& value : values) value = middle + (middle == 0.0F ? 1.0F : 0.1F) * random_.normal();
        return keep(values);
    }
    std::vector<float> values_of(const float* data) const {
        for (const auto& array : floats_)
            if (array->data() == data) return array->read();
        return {};
    }
    Matrix matrix(Format format, int n, int k) {
        const std::vector<std::uint8_t> blocks = random_weights(format, n, k, random_);
        const Packing packing = packing_of(format);
        std::vector<std::uint8_t> packed(static_cast<std::size_t>(packed_bytes(packing, n, k)));
        repack_host(format, blocks.data(), n, k, packed.data());
        return {packed_.emplace_back(std::make_unique<DeviceArray<std::uint8_t>>(packed))->data(), packing, n,
                k};
    }
    int cache_blocks() const { return shape.position / kKvBlockTokens + 1; }
    std::unique_ptr<DeviceArray<std::uint16_t>> cache() {
        std::vector<std::uint16_t> values(static_cast<std::size_t>(cache_blocks() * 2 * shape.n_kv_heads *
                                                                   kKvBlockTokens * shape.head_dim));
        for (std::uint16_t& value : values) value = round_to_half(random_.normal());
        return std::make_unique<DeviceArray<std::uint16_t>>(values);
    }

    void make_step() {
        constexpr int kArrived = 32;
        std::vector<std::int32_t> parts(kArrived, 0);
        parts.insert(parts.end(), {0, shape.position, shape.position + 1, 0});
        for (int i = cache_blocks() - 1; i >= 0; --i) parts.push_back(i);
        step_parts_ = std::make_unique<DeviceArray<std::int32_t>>(parts);
        const std::int32_t* base = step_parts_->data() + kArrived;
        step_ = {.tokens = nullptr,
                 .positions = base + 1,
                 .row_sequences = base,
                 .kv_lens = base + 2,
                 .block_table = base + 4,
                 .logit_rows = base + 3,
                 .block_table_stride = cache_blocks(),
                 .n_rows = 1,
                 .n_sequences = 1,
                 .n_logit_rows = 1};
        const std::size_t bytes =
            attention_decode_workspace_bytes(1, shape.n_heads, shape.head_dim, shape.n_splits);
        workspace_ = keep(std::vector<float>(bytes / sizeof(float), 0.0F));
    }

    static MatmulArgs matmul(int k) {
        MatmulArgs args = {};
        args.m = 1;
        args.k = k;
        return args;
    }
    static void add(MatmulArgs& args, const Matrix& matrix, float* out, const float* residual) {
        MatmulJob& job = args.jobs[args.n_jobs++];
        job.weight = matrix.data;
        job.residual = residual;
        job.out = out;
        job.out_stride = matrix.n;
        job.n = matrix.n;
    }
    static PackInput input(const float* rows, int k, const float* norm) {
        return {.rows = rows, .stride = k, .norm_weight = norm, .norm_eps = 1e-5F, .k = k};
    }

    template <class Operations>
    void run_attention(Operations& operations, const Layer& layer) {
        const PackInput normed = input(x_, shape.hidden, layer.attn_norm);
        MatmulArgs qk = matmul(shape.hidden);
        add(qk, layer.q, q_, nullptr);
        add(qk, layer.k, k_, nullptr);
        if (shape.with_bias) qk.jobs[0].bias = layer.q_bias;
        operations.products(layer.q.packing, qk, normed);
        MatmulArgs v = matmul(shape.hidden);
        add(v, layer.v, v_, nullptr);
        operations.products(layer.v.packing, v, normed);
        const KvLayer kv = {layer.cache->data(), Format::F16, shape.n_kv_heads, shape.head_dim};
        const int q_size = shape.n_heads * shape.head_dim;
        operations.rope_store({.q = q_,
                               .k = k_,
                               .v = v_,
                               .q_stride = q_size,
                               .k_stride = shape.n_kv_heads * shape.head_dim,
                               .v_stride = shape.n_kv_heads * shape.head_dim,
                               .step = step_,
                               .kv = kv,
                               .n_heads = shape.n_heads,
                               .style = shape.style,
                               .rope_dims = shape.style == RopeStyle::none ? 0 : shape.head_dim / 4 * 2,
                               .inv_freq = inv_freq_,
                               .magnitude = 1.0F,
                               .q_norm = shape.with_head_norms ? layer.q_norm : nullptr,
                               .k_norm = shape.with_head_norms ? layer.k_norm : nullptr,
                               .norm_eps = 1e-6F});
        operations.attention({.q = q_,
                              .out = attended_,
                              .q_stride = q_size,
                              .out_stride = q_size,
                              .step = step_,
                              .kv = kv,
                              .rows = nullptr,
                              .tiles = nullptr,
                              .n_rows = 1,
                              .n_tiles = 0,
                              .n_heads = shape.n_heads,
                              .n_splits = shape.n_splits,
                              .multiprocessors = 8,
                              .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
                              .softcap = shape.softcap,
                              .window = shape.window,
                              .sinks = shape.window > 0 ? layer.q_bias : nullptr,
                              .causal = true,
                              .workspace = workspace_});
        MatmulArgs o = matmul(q_size);
        add(o, layer.o, shape.with_norm_after ? block_out_ : x_, shape.with_norm_after ? nullptr : x_);
        operations.products(layer.o.packing, o, input(attended_, q_size, nullptr));
        if (shape.with_norm_after)
            operations.norm({.x = block_out_,
                             .x_stride = shape.hidden,
                             .weight = layer.norm_after,
                             .residual = x_,
                             .out = x_,
                             .out_stride = shape.hidden,
                             .m = 1,
                             .n = shape.hidden,
                             .eps = 1e-5F});
    }

    Random random_{11};
    std::vector<std::unique_ptr<DeviceArray<float>>> floats_;
    std::vector<std::unique_ptr<DeviceArray<std::uint8_t>>> packed_;
    std::vector<Layer> layers_;
    Matrix head_ = {};
    StepView step_ = {};
    std::unique_ptr<DeviceArray<std::int32_t>> step_parts_;
    float *x_, *last_, *q_, *k_, *v_, *attended_, *block_out_, *gated_, *logits_, *inv_freq_, *out_norm_,
        *workspace_;
};

double error_of(const std::vector<float>& got, const std::vector<float>& expected) {
    const std::vector<double> exact(expected.begin(), expected.end());
    return relative_error(got.data(), exact.data(), exact.size());
}

std::vector<float> expanded(const std::vector<std::uint16_t>& halves) {
    std::vector<float> values;
    for (const std::uint16_t half : halves) values.push_back(expand_half(half));
    return values;
}

void run_on_device(ProgramArgs args, const std::vector<ProgramPhase>& phases) {
    DeviceArray<ProgramPhase> on_device(phases);
    args.phases = on_device.data();
    run_program({}, device_limits(), args);
    wait_for({});
}

// Activations are rounded to int8 between operations: what differs in the last bit may differ by a code.
constexpr double kRounding = 2e-3;

void check_model(const Shape& shape, double allowed = kRounding) {
    Model launched(shape);
    Launches launches;
    launched.run(launches);
    wait_for({});
    Model model(shape);
    ProgramRecorder recorder(device_limits().multiprocessors);
    const ProgramArgs args = model.program_of(recorder);
    run_on_device(args, recorder.phases());
    const double error = error_of(model.logits(), launched.logits());
    CHECK_MSG(error <= allowed, "logits, head_dim " << shape.head_dim << ", " << shape.n_heads
                                                    << " heads, splits " << shape.n_splits << ": error "
                                                    << error);
    for (std::size_t layer = 0; layer < static_cast<std::size_t>(shape.n_layers); ++layer) {
        const double worst = error_of(expanded(model.cache_of(layer)), expanded(launched.cache_of(layer)));
        CHECK_MSG(worst <= allowed, "cache of layer " << layer << ": error " << worst);
    }
}

}  // namespace

LLMCORE_TEST(cuda_program_does_what_launches_do) {
    if (!programs_available(device_limits())) return;
    check_model({});
    check_model({.position = 0});
    check_model({.n_layers = 4, .format = Format::Q4_K, .other = Format::Q6_K, .with_bias = true});
    check_model({.n_heads = 6,
                 .n_kv_heads = 1,
                 .head_dim = 128,
                 .position = 600,
                 .n_splits = 4,
                 .style = RopeStyle::adjacent,
                 .with_head_norms = true});
    check_model({.n_heads = 4,
                 .n_kv_heads = 4,
                 .head_dim = 256,
                 .position = 130,
                 .with_norm_after = true,
                 .window = 50,
                 .softcap = 30.0F});
    check_model({.n_heads = 2, .n_kv_heads = 2, .head_dim = 80, .n_layers = 1, .style = RopeStyle::none});
}

LLMCORE_TEST(cuda_program_products_of_every_packing) {
    if (!programs_available(device_limits())) return;
    const DeviceLimits limits = device_limits();
    for (const Format format : weight_formats()) {
        Random random(3);
        const Packing packing = packing_of(format);
        const int k = 1024 + 256;
        const int n = 72;
        const std::vector<std::uint8_t> blocks = random_weights(format, n, k, random);
        std::vector<std::uint8_t> bytes(static_cast<std::size_t>(packed_bytes(packing, n, k)));
        repack_host(format, blocks.data(), n, k, bytes.data());
        std::vector<float> values(k);
        for (float& value : values) value = random.normal();
        DeviceArray<std::uint8_t> packed(bytes);
        DeviceArray<float> rows(values), expected(n), out(n);
        DeviceArray<std::int32_t> step(std::vector<std::int32_t>(40, 0));
        const PackInput input = {
            .rows = rows.data(), .stride = k, .norm_weight = rows.data(), .norm_eps = 1e-5F, .k = k};
        MatmulArgs matmul = {};
        matmul.m = matmul.n_jobs = 1;
        matmul.k = k;
        matmul.jobs[0].weight = packed.data();
        matmul.jobs[0].n = matmul.jobs[0].out_stride = n;
        matmul.jobs[0].out = out.data();
        ProgramRecorder recorder(limits.multiprocessors);
        recorder.products(packing, matmul, input);
        ProgramArgs args = {};
        const StepView view = {.tokens = step.data() + 32,
                               .positions = step.data() + 32,
                               .row_sequences = step.data() + 32,
                               .kv_lens = step.data() + 32,
                               .block_table = step.data() + 32,
                               .logit_rows = step.data() + 32,
                               .block_table_stride = 1,
                               .n_rows = 1,
                               .n_sequences = 1,
                               .n_logit_rows = 1};
        const bool is_float = packing == Packing::f16 || packing == Packing::bf16 || packing == Packing::f32;
        const bool is_program = recorder.finish(limits, view, args);
        CHECK(is_program == !is_float);
        if (!is_program) continue;
        args.arrived = reinterpret_cast<std::uint32_t*>(step.data());
        run_on_device(args, recorder.phases());
        matmul.jobs[0].out = expected.data();
        gemv({}, limits, packing, {.matmul = matmul, .input = input, .packed = nullptr});
        wait_for({});
        const double error = error_of(out.read(), expected.read());
        CHECK_MSG(error <= 1e-6, "packing " << static_cast<int>(packing) << ": error " << error);
    }
}

LLMCORE_TEST(cuda_program_refuses_what_it_has_no_phase_for) {
    Shape shape;
    shape.n_layers = 1;
    Model model(shape);
    ProgramRecorder recorder(4);
    model.run(recorder);
    DeviceLimits limits = device_limits();
    ProgramArgs args = {};
    CHECK(recorder.finish(limits, {}, args));
    limits.shared_bytes_per_block = 48 * 1024;
    CHECK(!recorder.finish(limits, {}, args));
    limits = device_limits();
    recorder.refuse();
    CHECK(!recorder.finish(limits, {}, args));
}

#if !defined(__CUDACC__)
// The emulation's blocks go each as far as they can before another: a meeting that is not there shows.
LLMCORE_TEST(cuda_program_needs_its_meetings) {
    const Shape shape = {.n_layers = 1, .n_splits = 2};
    Model launched(shape);
    Launches launches;
    launched.run(launches);
    const std::vector<float> expected = launched.logits();
    std::size_t n_waits = 0;
    for (std::size_t left_out = 0;; ++left_out) {
        Model model(shape);
        ProgramRecorder recorder(device_limits().multiprocessors);
        const ProgramArgs args = model.program_of(recorder);
        std::vector<ProgramPhase> phases = recorder.phases();
        if (left_out >= phases.size()) break;
        if (!phases[left_out].waits) continue;
        ++n_waits;
        phases[left_out].waits = false;
        run_on_device(args, phases);
        const double error = error_of(model.logits(), expected);
        CHECK_MSG(!(error <= kRounding), "without the meeting before phase " << left_out);
    }
    CHECK(n_waits == 6);  // attention, o, gate and up, down, the row, the head
}
#endif

}  // namespace llmcore::test
