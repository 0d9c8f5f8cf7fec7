// A model over two backends gives what it gives on one of them, whatever is asked of it.
#include "backend/split_backend.h"

#include <string>

#include "base/cpu_features.h"
#include "engine/decoder_runner.h"
#include "engine/fixed_rows_runner.h"
#include "engine_rig.h"
#include "split_models.h"

namespace llmcore::test {

namespace {

std::shared_ptr<Backend> split(Isa isa, std::int64_t border) {
    return std::make_shared<SplitBackend>(cpu(isa), cpu(isa), border);
}

// A backend that does nothing but write down what reaches it.
class NoteTaker final : public Backend {
public:
    NoteTaker(std::string name, std::vector<std::string>& notes, std::int64_t first_id, BackendInfo info = {})
        : name_(std::move(name)),
          notes_(notes),
          info_(std::move(info)),
          next_id_(static_cast<int>(first_id)) {}

    BackendInfo info() const override { return info_; }
    Buffer alloc(std::int64_t, std::int64_t) override { return {next_id_++}; }
    Weight upload(const WeightView&) override {
        note("upload");
        return {next_id_++};
    }
    std::int64_t weight_bytes(const WeightView& view) const override { return view.rows; }
    void alloc_kv(const KvSpec& spec) override { note("kv " + std::to_string(spec.n_layers)); }
    std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange> changes) const override {
        note("adapter of " + std::to_string(changes.size()));
        return nullptr;
    }
    void begin(const Batch&) override { note("begin"); }
    void write_rows(Buffer to, std::span<const float> values) override {
        note("write " + std::to_string(to.id) + ": " + std::to_string(values.size()));
    }
    void embed(const EmbedOp&) override { note("embed"); }
    void norm(const NormOp& op) override {
        note("norm " + std::to_string(op.in.id) + " to " + std::to_string(op.out.id));
    }
    void linear(std::span<const LinearOp> ops) override { note("linear " + std::to_string(ops.size())); }
    void moe(const MoeOp&) override { note("moe"); }
    void rope_store(const RopeStoreOp& op) override { note("rope " + std::to_string(op.layer)); }
    void attention(const AttentionOp& op) override { note("attention " + std::to_string(op.layer)); }
    void gather_logit_rows(Buffer, Buffer) override { note("gather"); }
    std::span<const float> end(Buffer) override {
        note("end");
        return values_;
    }

private:
    void note(const std::string& what) const { notes_.push_back(name_ + " " + what); }

    std::string name_;
    std::vector<std::string>& notes_;
    BackendInfo info_;
    int next_id_;
    std::vector<float> values_ = {1.0F, 2.0F};
};

WeightView view_for(std::int64_t first, std::int64_t last) {
    return {.format = Format::F32, .stored = Format::F32, .rows = 3, .readers = {first, last}};
}

}  // namespace

LLMCORE_TEST(split_models_give_the_bits_of_whole_ones) {
    for (const Model& model : kSplitModels) {
        const gguf::File file = ModelImage(model).open();
        for (const Isa isa : {Isa::scalar, isa_ceiling()}) {
            const std::vector<float> whole = mixed_logits(*decoder_over(file, cpu(isa), Format::F16));
            for (std::int64_t border = 1; border < model.n_layers; ++border)
                CHECK_MSG(mixed_logits(*decoder_over(file, split(isa, border), Format::F16)) == whole,
                          model.architecture << " before layer " << border << " on " << isa_name(isa));
        }
    }
}

LLMCORE_TEST(split_encoders_give_the_bits_of_whole_ones) {
    const gguf::File file = encoder_file();
    const Tokens tokens{1, 2, 3, 7, 8, 9, 11}, positions{0, 1, 2, 0, 1, 2, 3}, row_starts{0, 3, 7},
        kv_lens{3, 4}, table{0, 1}, rows{0, 1, 2, 3, 4, 5, 6};
    const Batch batch{.tokens = tokens,
                      .positions = positions,
                      .row_starts = row_starts,
                      .kv_lens = kv_lens,
                      .block_table = table,
                      .block_table_stride = 1,
                      .logit_rows = rows};
    const auto states = [&](std::shared_ptr<Backend> backend) {
        const auto decoder = decoder_over(file, std::move(backend), Format::F16);
        const std::span<const float> found = decoder->hidden_states(batch);
        return std::vector<float>(found.begin(), found.end());
    };
    const std::vector<float> whole = states(cpu(isa_ceiling()));
    CHECK(whole.size() == tokens.size() * 32);
    for (const std::int64_t border : {1, 2}) CHECK(states(split(isa_ceiling(), border)) == whole);
}

LLMCORE_TEST(split_backend_puts_everything_on_its_side) {
    std::vector<std::string> notes;
    SplitBackend backend(std::make_shared<NoteTaker>("front", notes, 100),
                         std::make_shared<NoteTaker>("back", notes, 200), 2);
    const Buffer hidden = backend.alloc(1, 1), other = backend.alloc(1, 1);
    const Weight table = backend.upload(view_for(LayerSpan::kEmbedding, LayerSpan::kEmbedding));
    const Weight early = backend.upload(view_for(1, 1)), late = backend.upload(view_for(2, 2));
    const Weight head = backend.upload(view_for(LayerSpan::kHead, LayerSpan::kHead));
    const Weight both = backend.upload(view_for(LayerSpan::kEmbedding, LayerSpan::kHead));
    CHECK(notes == (std::vector<std::string>{"front upload", "front upload", "back upload", "back upload",
                                             "front upload", "back upload"}));
    CHECK(backend.weight_bytes(view_for(0, 0)) == 3);
    CHECK(backend.weight_bytes(view_for(LayerSpan::kEmbedding, LayerSpan::kHead)) == 6);
    notes.clear();
    backend.alloc_kv({.n_layers = 5});
    backend.alloc_kv({.n_layers = 1});  // an encoder's
    backend.alloc_kv({.n_layers = 5});
    CHECK(notes == (std::vector<std::string>{"front kv 2", "back kv 3", "front kv 1", "back kv 1",
                                             "front kv 2", "back kv 3"}));
    const LowRankChange changes[] = {{.weight = early, .a = {}, .b = {}},
                                     {.weight = late, .a = {}, .b = {}},
                                     {.weight = head, .a = {}, .b = {}}};
    notes.clear();
    static_cast<void>(backend.make_adapter(changes));
    static_cast<void>(backend.make_adapter({changes, 1}));
    CHECK(notes ==
          (std::vector<std::string>{"front adapter of 1", "back adapter of 2", "front adapter of 1"}));

    notes.clear();
    backend.begin({});
    backend.embed({.table = table, .out = hidden});
    backend.norm({.in = hidden, .weight = early, .out = other});
    backend.rope_store(
        {.q = other, .k = other, .v = other, .layer = 1, .inv_freq = both, .q_norm = early, .k_norm = {}});
    backend.norm({.in = other, .weight = early, .out = hidden});
    backend.norm({.in = hidden, .weight = late, .out = other});
    backend.attention({.q = other, .out = hidden, .layer = 3, .sinks = late});
    backend.gather_logit_rows(hidden, other);
    const LinearOp logits[] = {{.in = other, .weight = both, .out = hidden}};
    backend.linear(logits);
    backend.end(hidden);
    const std::vector<std::string> expected = {"front begin",
                                               "back begin",
                                               "front embed",
                                               "front norm 100 to 101",
                                               "front rope 1",
                                               "front norm 101 to 100",
                                               "front end",
                                               "back write 200: 2",
                                               "back norm 200 to 201",
                                               "back attention 1",
                                               "back gather",
                                               "back linear 1",
                                               "back end"};
    CHECK(notes == expected);

    // What would need the front again, or a second end of its part.
    CHECK_THROWS(ErrorCode::internal, backend.norm({.in = hidden, .weight = early, .out = other}));
    backend.begin({});
    backend.embed({.table = table, .out = hidden});
    backend.embed({.table = table, .out = other});
    CHECK_THROWS(ErrorCode::internal,
                 backend.norm({.in = hidden, .weight = late, .out = hidden, .residual = other}));
}

LLMCORE_TEST(split_backend_says_what_both_sides_can_do) {
    std::vector<std::string> notes;
    const auto over = [&](BackendInfo front, BackendInfo back) {
        return SplitBackend(std::make_shared<NoteTaker>("front", notes, 0, std::move(front)),
                            std::make_shared<NoteTaker>("back", notes, 0, std::move(back)), 1)
            .info();
    };
    const BackendInfo host{.name = "cpu", .kv_block_tokens = 32, .threads = 4};
    const BackendInfo device{.name = "gpu",
                             .kv_block_tokens = 32,
                             .threads = 1,
                             .memory_bytes = 1000,
                             .step_tokens = 2048,
                             .runs_encoders = false};
    const BackendInfo both = over(host, device);
    CHECK(both.name == "cpu + gpu" && both.threads == 4 && both.memory_bytes == 1000);
    CHECK(both.kv_block_tokens == 32 && both.step_tokens == 0 && !both.runs_encoders);
    CHECK(over(device, device).step_tokens == 2048);
    BackendInfo odd = device;
    odd.kv_block_tokens = 16;
    CHECK_THROWS(ErrorCode::model, over(host, odd));
    // What one side cannot copy out, none can.
    SplitBackend mixed(cpu(Isa::scalar), std::make_shared<NoteTaker>("back", notes, 0, device), 1);
    mixed.alloc_kv({.format = Format::F16, .n_layers = 3, .n_kv_heads = 1, .head_dim = 8, .n_blocks = 2});
    CHECK(mixed.kv_block_bytes() == 0);
    CHECK(mixed.caches(Format::F16, 64) && !mixed.caches(Format::Q8_0, 64));
}

namespace {

// An adapter file that changes a matrix in some of the layers.
GgufImage adapter_image(const Model& model, std::vector<std::int64_t> layers) {
    Random random(8);
    GgufImage image;
    image.string("general.type", "adapter").string("adapter.type", "lora");
    image.string("general.architecture", model.architecture);
    for (const std::int64_t layer : layers) {
        const std::string name = "blk." + std::to_string(layer) + ".ffn_down.weight";
        image.tensor(name + ".lora_a", {static_cast<std::uint64_t>(model.d_ff), 2}, Format::F32,
                     matrix_of(Format::F32, 2, model.d_ff, random));
        image.tensor(name + ".lora_b", {2, static_cast<std::uint64_t>(model.d_model)}, Format::F32,
                     matrix_of(Format::F32, model.d_model, 2, random));
    }
    return image;
}

}  // namespace

LLMCORE_TEST(split_models_take_adapters) {
    const Model& model = kSplitModels[0];
    const gguf::File file = ModelImage(model).open();
    const Tokens tokens{1, 2, 3, 4, 5}, positions{0, 1, 0, 1, 0}, row_starts{0, 2, 4, 5}, kv_lens{2, 2, 1},
        table{0, 1, 2}, rows{1, 3, 4};
    const auto logits = [&](Decoder& decoder, std::vector<std::int64_t> layers, bool adapted) {
        const gguf::File adapter_file =
            gguf::File::from_bytes(adapter_image(model, std::move(layers)).build());
        const LoraAdapter adapter = decoder.make_adapter(adapter_file, 1.5F);
        CHECK(adapter.weights->bytes() > 0);
        const std::vector<const Adapter*> adapters = {nullptr, adapted ? adapter.weights.get() : nullptr,
                                                      nullptr};
        const std::span<const float> found = decoder.forward({.tokens = tokens,
                                                              .positions = positions,
                                                              .row_starts = row_starts,
                                                              .kv_lens = kv_lens,
                                                              .block_table = table,
                                                              .block_table_stride = 1,
                                                              .logit_rows = rows,
                                                              .adapters = adapters});
        return std::vector<float>(found.begin(), found.end());
    };
    const auto whole = decoder_over(file, cpu(isa_ceiling()), Format::F32);
    const auto halves = decoder_over(file, split(isa_ceiling(), 1), Format::F32);
    const std::vector<float> plain = logits(*whole, {0}, false);
    for (const std::vector<std::int64_t>& layers :
         std::vector<std::vector<std::int64_t>>{{0}, {1, 2}, {0, 2}}) {
        const std::vector<float> changed = logits(*whole, layers, true);
        CHECK(changed != plain);
        CHECK(logits(*halves, layers, true) == changed);
        CHECK(logits(*halves, layers, false) == plain);
    }
}

namespace {

// An engine over a real model whose cache holds `n_blocks` of 32 tokens. Rows have the same bits whether what
// is before them was cached, brought back or computed with them.
struct ModelRig {
    std::unique_ptr<Engine> engine;
    Results results;

    ModelRig(const gguf::File& file, const std::shared_ptr<Backend>& backend, std::int64_t n_blocks,
             const SpillOptions& spill) {
        constexpr std::int64_t kRows = 8;
        auto decoder = decoder_over(file, backend, Format::F16, n_blocks + 1);  // one is the runner's
        const RunnerLimits limits{.n_vocab = kVocab,
                                  .d_model = decoder->spec().d_model,
                                  .n_ctx = 160,
                                  .kv_block_tokens = 32,
                                  .kv_blocks = n_blocks + 1,
                                  .max_step_tokens = 128,
                                  .max_logit_rows = 128};
        auto runner = std::make_unique<FixedRowsRunner>(
            std::make_unique<DecoderRunner>(backend, std::move(decoder), limits), kRows);
        engine = std::make_unique<Engine>(std::move(runner), fake_vocabulary(),
                                          EngineConfig{.max_batch = 4, .spill = spill});
    }

    const Collected& run(std::uint64_t id, std::uint64_t prompt) {
        RequestSpec spec = request(id, prompt_of(prompt, 97), 12);
        spec.ignore_eos = true;
        engine->submit(spec);
        while (!results[{id, 0}].n_finished) collect(engine->outputs().wait(0.1), results);
        return results[{id, 0}];
    }
};

Model with_vocabulary(Model model) {
    model.n_vocab = kVocab;
    return model;
}

}  // namespace

LLMCORE_TEST(split_models_share_prefixes_and_spill) {
    const gguf::File file = ModelImage(with_vocabulary(kSplitModels[0])).open();
    ModelRig whole(file, cpu(isa_ceiling()), 64, {});
    const std::shared_ptr<Backend> halves = split(isa_ceiling(), 2);
    {
        ModelRig shared(file, halves, 64, {});
        for (std::uint64_t id = 1; id <= 4; ++id) {
            const Collected& found = shared.run(id, 1 + id % 2);
            CHECK(found.tokens == whole.run(id, 1 + id % 2).tokens);
            CHECK(found.last.cached_tokens == (id > 2 ? 96 : 0));
        }
    }
    // Four blocks a request and five in all: each pushes out the one before.
    const std::shared_ptr<Backend> again = split(isa_ceiling(), 2);
    ModelRig spilling(file, again, 5, {.ram_bytes = 1 << 20});
    CHECK(again->kv_block_bytes() > 0);
    for (std::uint64_t id = 11; id <= 16; ++id)
        CHECK(spilling.run(id, 1 + id % 3).tokens == whole.run(id, 1 + id % 3).tokens);
    CHECK(spilling.engine->stats().spill.restored_ram > 0);
}

LLMCORE_TEST(split_models_go_on_after_a_request_is_cancelled) {
    const gguf::File file = ModelImage(with_vocabulary(kSplitModels[0])).open();
    ModelRig whole(file, cpu(isa_ceiling()), 64, {}), halves(file, split(isa_ceiling(), 1), 64, {});
    for (std::uint64_t id = 100; id < 103; ++id) {
        RequestSpec spec = request(id, prompt_of(id, 30), 120);
        spec.ignore_eos = true;
        halves.engine->submit(spec);
        if (id != 101) halves.engine->abort(id);
    }
    CHECK(halves.run(1, 5).tokens == whole.run(1, 5).tokens);
    halves.engine->abort(101);
    CHECK(halves.run(2, 6).tokens == whole.run(2, 6).tokens);
    const EngineStats stats = halves.engine->stats();
    CHECK(stats.failed == 0);
    CHECK(stats.kv_blocks_total > 0);
}

}  // namespace llmcore::test
