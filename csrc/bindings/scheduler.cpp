// The scheduler and its block pool, so that policy can be tested without a model.
#include "engine/scheduler.h"

#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "cache/block_pool.h"

namespace py = pybind11;

namespace {

using llmcore::BlockKey;
using llmcore::BlockPool;
using llmcore::Scheduler;
using llmcore::SchedulerConfig;
using llmcore::SequenceId;

void bind_block_pool(py::module_& m) {
    py::class_<BlockPool>(m, "BlockPool", "KV blocks: which are free, and how often the others are held.")
        .def(py::init<std::int64_t>(), py::arg("n_blocks"))
        .def_property_readonly("capacity", &BlockPool::capacity)
        .def_property_readonly("free_blocks", &BlockPool::free_blocks)
        .def_property_readonly("used_blocks", &BlockPool::used_blocks)
        .def("ref_count", &BlockPool::ref_count, py::arg("block"))
        .def("take", &BlockPool::take)
        .def("retain", &BlockPool::retain, py::arg("block"))
        .def("release", &BlockPool::release, py::arg("block"))
        .def(
            "publish",
            [](BlockPool& pool, std::int32_t block, std::uint64_t key) { pool.publish(block, {0, key}); },
            py::arg("block"), py::arg("key"))
        .def(
            "publish_part",
            [](BlockPool& pool, std::int32_t block, std::uint64_t key) {
                pool.publish_part(block, {0, key});
            },
            py::arg("block"), py::arg("key"))
        .def(
            "reuse", [](BlockPool& pool, std::uint64_t key) { return pool.reuse({0, key}); }, py::arg("key"))
        .def_property_readonly("published_blocks", &BlockPool::published_blocks);
}

std::vector<std::pair<SequenceId, std::int64_t>> schedule(Scheduler& scheduler) {
    std::vector<std::pair<SequenceId, std::int64_t>> step;
    for (const llmcore::StepEntry& entry : scheduler.schedule()) step.emplace_back(entry.id, entry.n_tokens);
    return step;
}

std::vector<BlockKey> block_keys(const std::vector<std::uint64_t>& keys) {
    std::vector<BlockKey> made;
    for (const std::uint64_t key : keys) made.push_back({0, key});
    return made;
}

std::vector<std::int32_t> blocks(const Scheduler& scheduler, SequenceId id) {
    const auto held = scheduler.blocks(id);
    return {held.begin(), held.end()};
}

}  // namespace

void bind_scheduler(py::module_& m) {
    bind_block_pool(m);
    py::class_<Scheduler>(m, "Scheduler",
                          "Decides each step: which sequences run, and how many tokens of each.")
        .def(py::init([](std::int64_t n_ctx, std::int64_t block_tokens, std::int64_t n_blocks,
                         std::int64_t max_batch, std::int64_t max_step_tokens, std::int64_t max_logit_rows,
                         std::int64_t mixed_prompt_tokens, std::int64_t room_to_grow, bool reuses_prefixes,
                         bool whole_prompts, std::int64_t brief_prompt_tokens, std::int64_t part_tokens,
                         std::optional<Scheduler::CopyBlock> copy_block) {
                 return Scheduler(SchedulerConfig{.n_ctx = n_ctx,
                                                  .block_tokens = block_tokens,
                                                  .part_tokens = part_tokens,
                                                  .n_blocks = n_blocks,
                                                  .max_batch = max_batch,
                                                  .max_step_tokens = max_step_tokens,
                                                  .max_logit_rows = max_logit_rows,
                                                  .mixed_prompt_tokens = mixed_prompt_tokens,
                                                  .room_to_grow = room_to_grow,
                                                  .brief_prompt_tokens = brief_prompt_tokens,
                                                  .reuses_prefixes = reuses_prefixes,
                                                  .whole_prompts = whole_prompts},
                                  nullptr, std::move(copy_block).value_or(nullptr));
             }),
             py::kw_only(), py::arg("n_ctx"), py::arg("block_tokens"), py::arg("n_blocks"),
             py::arg("max_batch"), py::arg("max_step_tokens"), py::arg("max_logit_rows"),
             py::arg("mixed_prompt_tokens") = SchedulerConfig{}.mixed_prompt_tokens,
             py::arg("room_to_grow") = SchedulerConfig{}.room_to_grow, py::arg("reuses_prefixes") = true,
             py::arg("whole_prompts") = false,
             py::arg("brief_prompt_tokens") = SchedulerConfig{}.brief_prompt_tokens,
             py::arg("part_tokens") = SchedulerConfig{}.part_tokens, py::arg("copy_block") = py::none())
        .def(
            "add",
            [](Scheduler& scheduler, SequenceId id, std::int64_t n_prompt, std::int64_t max_new_tokens,
               bool all_rows, bool pooling, std::int64_t priority, std::uint64_t tenant,
               const std::vector<std::uint64_t>& keys) {
                scheduler.add(id,
                              {.n_prompt = n_prompt,
                               .max_new_tokens = max_new_tokens,
                               .all_rows = all_rows,
                               .pooling = pooling,
                               .priority = priority,
                               .tenant = tenant},
                              block_keys(keys));
            },
            py::arg("id"), py::arg("n_prompt"), py::arg("max_new_tokens"), py::kw_only(),
            py::arg("all_rows") = false, py::arg("pooling") = false, py::arg("priority") = 0,
            py::arg("tenant") = 0, py::arg("keys") = py::list(),
            "keys: names of the prompt up to the end of each of its parts.")
        .def("schedule", &schedule, "The next step as (sequence, number of tokens).")
        .def("advance", &Scheduler::advance, py::arg("id"), py::arg("n_tokens"))
        .def(
            "append_token",
            [](Scheduler& scheduler, SequenceId id, std::optional<std::uint64_t> key) {
                scheduler.append_token(id, key ? std::optional(BlockKey{0, *key}) : std::nullopt);
            },
            py::arg("id"), py::arg("key") = py::none(),
            "key: of the text up to the token where it ends a part.")
        .def("propose", &Scheduler::propose, py::arg("id"), py::arg("n_tokens"))
        .def("finish", &Scheduler::finish, py::arg("id"))
        .def("limit_mixed_prompt", &Scheduler::limit_mixed_prompt, py::arg("n_tokens"))
        .def("blocks", &blocks, py::arg("id"))
        .def("cached_tokens", &Scheduler::cached_tokens, py::arg("id"))
        .def("reused_tokens", &Scheduler::reused_tokens, py::arg("id"))
        .def(
            "ref_count", [](const Scheduler& s, std::int32_t block) { return s.pool().ref_count(block); },
            py::arg("block"))
        .def_property_readonly("has_work", &Scheduler::has_work)
        .def_property_readonly("waiting", &Scheduler::waiting)
        .def_property_readonly("running", &Scheduler::running)
        .def_property_readonly("prompts", &Scheduler::prompts)
        .def_property_readonly("reads_brief_prompt", &Scheduler::reads_brief_prompt)
        .def_property_readonly("preemptions", &Scheduler::preemptions)
        .def_property_readonly("used_blocks", [](const Scheduler& s) { return s.pool().used_blocks(); });
}
