// Low-rank changes on the CPU backend, against sums in double; and adapter files that lie.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
#include "base/cpu_features.h"
#include "gguf_image.h"
#include "harness.h"
#include "model/lora.h"
#include "quant/half.h"
#include "random_weights.h"

namespace {

using llmcore::Activation;
using llmcore::Adapter;
using llmcore::Batch;
using llmcore::Buffer;
using llmcore::CpuBackend;
using llmcore::ErrorCode;
using llmcore::Format;
using llmcore::Isa;
using llmcore::KernelSelector;
using llmcore::LinearOp;
using llmcore::LowRankChange;
using llmcore::ModelSpec;
using llmcore::ModelWeights;
using llmcore::Weight;
using llmcore::WeightView;
using llmcore::gguf::File;
using llmcore::gguf::ValueType;
using llmcore::test::GgufImage;
using llmcore::test::Random;
using Tokens = std::vector<std::int32_t>;

struct Matrix {
    std::int64_t rows, cols;
    std::vector<float> values;

    Matrix(std::int64_t n_rows, std::int64_t n_cols, Random& random) : rows(n_rows), cols(n_cols) {
        values.resize(static_cast<std::size_t>(rows * cols));
        for (float& value : values) value = random.normal() / std::sqrt(static_cast<float>(cols));
    }
    WeightView view() const {
        return {
            .format = Format::F32, .stored = Format::F32, .rows = rows, .cols = cols, .data = values.data()};
    }
    const float* row(std::int64_t i) const { return values.data() + i * cols; }
    std::vector<double> times(const std::vector<double>& x) const {
        std::vector<double> y(static_cast<std::size_t>(rows));
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t c = 0; c < cols; ++c)
                y[static_cast<std::size_t>(i)] +=
                    static_cast<double>(row(i)[c]) * x[static_cast<std::size_t>(c)];
        return y;
    }
};

struct Change {
    Matrix a, b;
    float scale;

    Change(const Matrix& of, std::int64_t rank, float scaled, Random& random)
        : a(rank, of.cols, random), b(of.rows, rank, random), scale(scaled) {}
    LowRankChange of(Weight weight) const {
        return {.weight = weight, .a = a.view(), .b = b.view(), .scale = scale};
    }
};

std::vector<double> product(const Matrix& w, const Change* change, const std::vector<double>& x) {
    std::vector<double> y = w.times(x);
    if (change == nullptr) return y;
    const std::vector<double> added = change->b.times(change->a.times(x));
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += static_cast<double>(change->scale) * added[i];
    return y;
}

constexpr std::int64_t kCols = 37;
constexpr std::int64_t kWide = 53;

// Four sequences of so many rows; the second and the last have the first adapter, the third the second.
struct Step {
    Tokens tokens, positions, row_starts{0}, kv_lens, table, logit_rows;
    std::vector<const Adapter*> adapters;
    std::vector<int> kinds;  // of each row: -1, 0, 1

    Step(const Tokens& lengths, const std::vector<int>& which, const std::vector<const Adapter*>& made) {
        for (std::size_t s = 0; s < lengths.size(); ++s) {
            for (std::int32_t i = 0; i < lengths[s]; ++i) {
                positions.push_back(i);
                tokens.push_back(static_cast<std::int32_t>(tokens.size()));
                kinds.push_back(which[s]);
            }
            row_starts.push_back(static_cast<std::int32_t>(tokens.size()));
            kv_lens.push_back(lengths[s]);
            table.push_back(static_cast<std::int32_t>(s));
            logit_rows.push_back(row_starts.back() - 1);
            adapters.push_back(which[s] < 0 ? nullptr : made[static_cast<std::size_t>(which[s])]);
        }
    }
    Batch batch(bool adapted) const {
        return {.tokens = tokens,
                .positions = positions,
                .row_starts = row_starts,
                .kv_lens = kv_lens,
                .block_table = table,
                .block_table_stride = 1,
                .logit_rows = logit_rows,
                .adapters = adapted ? std::span(adapters) : std::span<const Adapter* const>()};
    }
};

double silu(double x) { return x / (1.0 + std::exp(-x)); }

// A gated unit, a product with bias and residual, and a head over gathered rows, in steps of every shape.
void check_products(Isa isa) {
    Random random(3);
    CpuBackend backend(KernelSelector(isa, ""), std::make_shared<llmcore::ThreadPool>(3));
    const Matrix table(64, kCols, random), gate(kWide, kCols, random), up(kWide, kCols, random),
        down(kCols, kWide, random), bias(1, kCols, random);
    const Weight table_id = backend.upload(table.view()), gate_id = backend.upload(gate.view()),
                 up_id = backend.upload(up.view()), down_id = backend.upload(down.view()),
                 bias_id = backend.upload(bias.view());
    const Change gate_change(gate, 3, 0.5F, random), down_change(down, 4, 2.0F, random),
        up_change(up, 5, -1.5F, random), other_down(down, 1, 1.0F, random);
    const LowRankChange first[] = {gate_change.of(gate_id), down_change.of(down_id)};
    const LowRankChange second[] = {up_change.of(up_id), other_down.of(down_id)};
    const std::shared_ptr<const Adapter> one = backend.make_adapter(first);
    const std::shared_ptr<const Adapter> two = backend.make_adapter(second);
    CHECK(one->bytes() >= static_cast<std::int64_t>(sizeof(float)) * (3 + 4) * (kCols + kWide));

    const Buffer hidden = backend.alloc(64, kCols), gated = backend.alloc(64, kWide),
                 last = backend.alloc(64, kCols), head = backend.alloc(64, kWide);
    const auto run = [&](const Batch& batch, bool through_head) {
        backend.begin(batch);
        backend.embed({.table = table_id, .out = hidden});
        const LinearOp unit[] = {
            {.in = hidden, .weight = gate_id, .out = gated, .up = up_id, .activation = Activation::silu}};
        backend.linear(unit);
        const LinearOp back[] = {
            {.in = gated, .weight = down_id, .out = hidden, .bias = bias_id, .residual = hidden}};
        backend.linear(back);
        if (!through_head) return backend.end(hidden);
        backend.gather_logit_rows(hidden, last);
        const LinearOp heads[] = {{.in = last, .weight = gate_id, .out = head}};
        backend.linear(heads);
        return backend.end(head);
    };
    const auto expected = [&](std::int32_t token, int kind, bool through_head) {
        const float* row = table.row(token);
        std::vector<double> x(row, row + kCols);
        std::vector<double> g = product(gate, kind == 0 ? &gate_change : nullptr, x);
        const std::vector<double> u = product(up, kind == 1 ? &up_change : nullptr, x);
        for (std::size_t i = 0; i < g.size(); ++i) g[i] = silu(g[i]) * u[i];
        const std::vector<double> y = product(down,
                                              kind == 0   ? &down_change
                                              : kind == 1 ? &other_down
                                                          : nullptr,
                                              g);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i] + static_cast<double>(bias.values[i]);
        return through_head ? product(gate, kind == 0 ? &gate_change : nullptr, x) : x;
    };

    const std::vector<const Adapter*> made{one.get(), two.get()};
    const std::vector<Step> steps = {Step({1, 1, 1, 1}, {-1, 0, 1, 0}, made),
                                     Step({9, 2, 13, 1}, {-1, 0, 1, 0}, made), Step({5, 30}, {0, 0}, made),
                                     Step({1}, {1}, made), Step({40, 1}, {-1, 1}, made)};
    for (const Step& step : steps) {
        for (const bool through_head : {false, true}) {
            const std::span<const float> bare_view = run(step.batch(false), through_head);
            const std::vector<float> bare(bare_view.begin(), bare_view.end());
            const std::span<const float> got = run(step.batch(true), through_head);
            CHECK(got.size() == bare.size());
            const std::size_t width = through_head ? kWide : kCols;
            for (std::size_t row = 0; row * width < got.size(); ++row) {
                const std::size_t source =
                    through_head ? static_cast<std::size_t>(step.logit_rows[row]) : row;
                const std::vector<double> wanted =
                    expected(step.tokens[source], step.kinds[source], through_head);
                const double error =
                    llmcore::test::relative_error(got.data() + row * width, wanted.data(), width);
                CHECK_MSG(error < 1e-5, "row " << row << " of kind " << step.kinds[source] << ": " << error);
                const bool same = std::memcmp(got.data() + row * width, bare.data() + row * width,
                                              width * sizeof(float)) == 0;
                CHECK_MSG(same == (step.kinds[source] < 0), "bits of row " << row);
            }
        }
    }
}

// --- files -----------------------------------------------------------------------------------------------

// A model of one matrix, one of experts and an embedding.
struct Rig {
    CpuBackend backend{KernelSelector(Isa::scalar, ""), std::make_shared<llmcore::ThreadPool>(1)};
    ModelSpec spec;
    ModelWeights weights;

    Rig() {
        Random random(1);
        spec.architecture = "llama";
        const Matrix whole(6, 4, random), top(2, 4, random);
        weights.matrices["blk.0.attn_q.weight"] = {6, 4, {{backend.upload(whole.view()), 0, 6}}};
        weights.matrices["blk.0.attn_qkv.weight"] = {
            6, 4, {{backend.upload(top.view()), 0, 2}, {backend.upload(top.view()), 2, 4}}};
        weights.matrices["token_embd.weight"] = {6, 4, {{backend.upload(whole.view()), 0, 6}}};
    }
    llmcore::LoraAdapter read(const GgufImage& image, float scale = 1.0F) const {
        const File file = File::from_bytes(image.build());
        return llmcore::read_lora(file, spec, weights, scale, backend);
    }
};

GgufImage head_of(const std::string& architecture = "llama") {
    GgufImage image;
    image.string("general.type", "adapter").string("adapter.type", "lora");
    return image.string("general.architecture", architecture);
}

GgufImage& add(GgufImage& image, const std::string& name, std::uint64_t first, std::uint64_t second,
               Format format = Format::F32) {
    return image.tensor(name, {first, second}, format, static_cast<std::size_t>(first * second) * 4);
}

GgufImage& add_pair(GgufImage& image, const std::string& name, std::uint64_t rank) {
    add(image, name + ".lora_a", 4, rank);
    return add(image, name + ".lora_b", rank, 6);
}

constexpr const char* kMatrix = "blk.0.attn_q.weight";

}  // namespace

LLMCORE_TEST(lora_rows_equal_their_sums_in_double) {
    check_products(Isa::scalar);
    if (llmcore::isa_ceiling() != Isa::scalar) check_products(llmcore::isa_ceiling());
}

LLMCORE_TEST(lora_files_are_read) {
    const Rig rig;
    GgufImage image = head_of();
    image.scalar("adapter.lora.alpha", ValueType::f32, 8.0F);
    add_pair(add_pair(image, kMatrix, 2), "blk.0.attn_qkv.weight", 3);
    const llmcore::LoraAdapter read = rig.read(image);
    CHECK(read.largest_rank == 3 && read.n_matrices == 2 && read.weights->bytes() > 0);
    GgufImage vectors = head_of();  // a rank of 1 whose dimension was left out
    vectors.tensor(std::string(kMatrix) + ".lora_a", {4}, Format::F32, 16);
    add(vectors, std::string(kMatrix) + ".lora_b", 1, 6);
    CHECK(rig.read(vectors).largest_rank == 1);
}

LLMCORE_TEST(lora_files_that_lie_are_refused) {
    const Rig rig;
    const auto refuses = [&](GgufImage& image, float scale = 1.0F) {
        CHECK_THROWS(ErrorCode::model, rig.read(image, scale));
    };
    const std::string name = kMatrix;
    {
        GgufImage model;
        model.string("general.architecture", "llama");
        refuses(add_pair(model, name, 2));
    }
    {
        GgufImage other = head_of("qwen2"), empty = head_of(), unknown = head_of(), norm = head_of();
        refuses(add_pair(other, name, 2));
        refuses(empty);
        refuses(add_pair(unknown, "blk.9.attn_q.weight", 2));
        refuses(add(norm, "blk.0.attn_norm.weight", 4, 1));
    }
    {
        GgufImage only_a = head_of(), only_b = head_of(), wide = head_of(), tall = head_of(),
                  ranks = head_of();
        refuses(add(only_a, name + ".lora_a", 4, 2));
        refuses(add(only_b, name + ".lora_b", 2, 6));
        refuses(add(add(wide, name + ".lora_a", 5, 2), name + ".lora_b", 2, 6));
        refuses(add(add(tall, name + ".lora_a", 4, 2), name + ".lora_b", 2, 7));
        refuses(add(add(ranks, name + ".lora_a", 4, 2), name + ".lora_b", 3, 6));
    }
    {
        GgufImage giant = head_of(), embedding = head_of(), experts = head_of(), aware = head_of();
        refuses(add_pair(giant, name, 1025));
        refuses(add_pair(embedding, "token_embd.weight", 2));
        refuses(add_pair(experts, "blk.0.ffn_up_exps.weight", 2));
        aware.array<std::uint32_t>("adapter.alora.invocation_tokens", ValueType::u32, {1, 2});
        refuses(add_pair(aware, name, 2));
    }
    for (const float alpha :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        GgufImage image = head_of();
        image.scalar("adapter.lora.alpha", ValueType::f32, alpha);
        refuses(add_pair(image, name, 2));
    }
    GgufImage sound = head_of(), strong = head_of(), quantized = head_of();
    strong.scalar("adapter.lora.alpha", ValueType::f32, 3e38F);
    refuses(add_pair(strong, name, 1), 10.0F);
    refuses(add_pair(sound, name, 2), std::numeric_limits<float>::infinity());
    CHECK(rig.read(sound).n_matrices == 1);
    quantized.tensor(name + ".lora_a", {32, 2}, Format::Q8_0, 68);
    refuses(add(quantized, name + ".lora_b", 2, 6));
}
