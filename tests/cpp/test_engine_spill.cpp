// Blocks that leave the cache and come back: the text is what it would be alone, and less of it is computed.
#include <fstream>
#include <string>
#include <vector>

#include "engine_rig.h"
#include "scratch_folder.h"

namespace llmcore::test {

namespace {

constexpr std::int64_t kBlockBytes = 4 * 4;

RunnerLimits few_blocks(std::int64_t n_blocks) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.n_ctx = 60;
    limits.kv_blocks = n_blocks;
    return limits;
}

EngineConfig with(const SpillOptions& spill) { return {.max_batch = 4, .spill = spill}; }

// Prompts of 40 tokens, ten blocks, of which one more is needed: with 16 blocks each pushes out another's.
void run_alone(Rig& rig, std::uint64_t id, std::uint64_t prompt, const std::string& tenant = "") {
    RequestSpec spec = request(id, prompt_of(prompt, 41), 6);
    spec.tenant = tenant;
    const std::size_t before = rig.finished();
    rig.engine->submit(spec);
    CHECK(rig.await(before + 1));
    CHECK(rig.result(id).tokens == alone(prompt_of(prompt, 41), 6));
}

}  // namespace

LLMCORE_TEST(engine_blocks_come_back_from_memory) {
    Rig rig(few_blocks(16), with({.ram_bytes = 64 * kBlockBytes}));
    for (std::uint64_t id = 1; id <= 3; ++id) run_alone(rig, id, id);
    CHECK(rig.engine->stats().spill.spilled_ram > 0);
    for (std::uint64_t id = 4; id <= 6; ++id) {
        run_alone(rig, id, id - 3);
        CHECK(rig.result(id).last.cached_tokens == 40);
    }
    CHECK(rig.engine->stats().spill.restored_ram > 0);
    run_alone(rig, 7, 1, "another");
    CHECK(rig.result(7).last.cached_tokens == 0);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_memory_tier_of_one_block_does_no_harm) {
    Rig rig(few_blocks(16), with({.ram_bytes = kBlockBytes}));
    for (std::uint64_t id = 1; id <= 8; ++id) run_alone(rig, id, 1 + id % 3);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_blocks_survive_a_restart) {
    const ScratchFolder folder;
    const SpillOptions spill{.folder = folder.path(), .model = 5};
    {
        Rig rig(few_blocks(64), with(spill));
        for (std::uint64_t id = 1; id <= 3; ++id) run_alone(rig, id, id, "tenant");
        rig.stop();
        CHECK(rig.engine->stats().spill.spilled_disk >= 30);
    }
    Rig rig(few_blocks(64), with(spill));
    rig.runner->row_microseconds = 1000;  // much more than to read a block takes
    run_alone(rig, 1, 1, "tenant");
    CHECK(rig.result(1).last.cached_tokens == 40);
    run_alone(rig, 2, 1, "tenant");  // now in the cache
    CHECK(rig.result(2).last.cached_tokens == 40);
    run_alone(rig, 3, 2, "another");
    CHECK(rig.result(3).last.cached_tokens == 0);
    // All at once, twice.
    for (std::uint64_t id = 4; id <= 7; ++id) {
        RequestSpec spec = request(id, prompt_of(2 + id % 2, 41), 6);
        spec.tenant = "tenant";
        rig.engine->submit(spec);
    }
    CHECK(rig.await(7));
    for (std::uint64_t id = 4; id <= 7; ++id) {
        CHECK(rig.result(id).tokens == alone(prompt_of(2 + id % 2, 41), 6));
        CHECK(rig.result(id).last.cached_tokens == 40);
    }
    CHECK(rig.engine->stats().spill.restored_disk == 30);
    CHECK(rig.engine->new_warning().empty());
    rig.stop();

    Rig other(few_blocks(64), with({.folder = folder.path(), .model = 6}));
    run_alone(other, 1, 1, "tenant");
    CHECK(other.result(1).last.cached_tokens == 0);
}

LLMCORE_TEST(engine_spills_to_disk_while_it_runs) {
    const ScratchFolder folder;
    for (const std::int64_t ram_blocks : {0, 6}) {
        const SpillOptions spill{.ram_bytes = ram_blocks * kBlockBytes,
                                 .folder = folder.path() / std::to_string(ram_blocks)};
        Rig rig(few_blocks(16), with(spill));
        rig.runner->row_microseconds = 200;
        for (std::uint64_t id = 1; id <= 12; ++id) run_alone(rig, id, 1 + id % 4);
        CHECK(rig.engine->stats().spill.spilled_disk > 0);
        CHECK(rig.engine->stats().spill.restored_disk > 0);
        CHECK(rig.engine->stats().cached_prompt_tokens > 0);
        CHECK(rig.blocks_used() == 0);
    }
}

LLMCORE_TEST(engine_requests_may_leave_while_blocks_are_read) {
    const ScratchFolder folder;
    const SpillOptions spill{.folder = folder.path()};
    {
        Rig rig(few_blocks(64), with(spill));
        for (std::uint64_t id = 1; id <= 4; ++id) run_alone(rig, id, id);
    }
    Rig rig(few_blocks(32), with(spill));
    for (std::uint64_t id = 1; id <= 40; ++id) {
        rig.engine->submit(request(id, prompt_of(1 + id % 4, 41), 6));
        if (id % 3 == 0) rig.engine->abort(id - 1);
    }
    CHECK(rig.await(40));
    for (const auto& [place, result] : rig.results) {
        if (result.last.finish == FinishReason::cancelled) continue;
        CHECK(result.tokens == alone(prompt_of(1 + place.first % 4, 41), 6));
    }
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_goes_on_without_a_usable_folder) {
    const ScratchFolder folder;
    const std::filesystem::path file = folder.path() / "file";
    std::ofstream(file) << "no folder";
    Rig blocked(few_blocks(16), with({.folder = file}));
    run_alone(blocked, 1, 1);
    CHECK(blocked.engine->new_warning().find("nothing is kept there") != std::string::npos);
}

LLMCORE_TEST(engine_refuses_tiers_that_make_no_sense) {
    CHECK_THROWS(ErrorCode::invalid_argument, Rig(few_blocks(16), with({.ram_bytes = kBlockBytes - 1})));
    CHECK_THROWS(ErrorCode::invalid_argument, Rig(few_blocks(16), with({.ram_bytes = -5})));
    const ScratchFolder folder;
    CHECK_THROWS(ErrorCode::invalid_argument,
                 Rig(few_blocks(16), with({.folder = folder.path(), .folder_bytes = 70})));
    auto runner = std::make_unique<FakeRunner>(few_blocks(16));
    runner->copies_blocks = false;
    CHECK_THROWS(ErrorCode::invalid_argument,
                 Engine(std::move(runner), fake_vocabulary(), with({.ram_bytes = 1 << 20})));
}

namespace {

// Sequences that outgrow the cache together, so that some give way, several times.
std::int64_t run_crowd(Rig& rig) {
    for (std::uint64_t id = 1; id <= 6; ++id) rig.engine->submit(request(id, prompt_of(id, 10 + id), 150));
    CHECK(rig.await(6));
    for (std::uint64_t id = 1; id <= 6; ++id)
        CHECK(rig.result(id).tokens == alone(prompt_of(id, 10 + id), 150));
    CHECK(rig.engine->stats().preemptions > 0);
    CHECK(rig.blocks_used() == 0);
    return rig.runner->rows;
}

RunnerLimits crowded() {
    RunnerLimits limits = few_blocks(60);
    limits.n_ctx = 200;
    return limits;
}

}  // namespace

LLMCORE_TEST(engine_keeps_what_is_cheaper_to_copy) {
    for (const bool prefix_cache : {true, false}) {
        EngineConfig config = with({.ram_bytes = 1000 * kBlockBytes});
        config.prefix_cache = prefix_cache;
        Rig keeping(crowded(), config);
        keeping.runner->row_microseconds = 200;
        const std::int64_t rows = run_crowd(keeping);
        const EngineStats kept = keeping.engine->stats();
        CHECK(kept.kept_preemptions > 0 && kept.spill.restored_ram > 0);
        // Nothing was run twice: each prompt, and each token sampled but the last.
        CHECK(rows == 6 * 10 + 21 + 6 * 149);
    }
}

LLMCORE_TEST(engine_computes_what_is_cheaper_to_compute) {
    EngineConfig config = with({.ram_bytes = 1000 * kBlockBytes});
    config.prefix_cache = false;
    Rig computing(crowded(), config);
    computing.runner->copy_microseconds = 2000;
    const std::int64_t rows = run_crowd(computing);
    const EngineStats computed = computing.engine->stats();
    // The first copies told what one costs.
    CHECK(computed.kept_preemptions <= 3 && computed.spill.spilled_ram <= 6);
    CHECK(rows > 6 * 10 + 21 + 6 * 149);

    Rig small(crowded(), with({.ram_bytes = 3 * kBlockBytes}));  // no room: computed, too
    run_crowd(small);
}

}  // namespace llmcore::test
