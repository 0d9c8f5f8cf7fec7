#include "cache/kv_sizing.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>

#include "base/ceil_div.h"
#include "base/error.h"
#include "base/text_file.h"

namespace llmcore {

namespace {

constexpr std::int64_t kMiB = 1024 * 1024;

std::string mib(std::int64_t bytes) { return std::to_string(ceil_div(bytes, kMiB)) + " MiB"; }

// The number that `text` begins with, after blanks; -1 if there is none.
std::int64_t leading_number(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    std::int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    return result.ec == std::errc() ? value : -1;
}

// The number after `key` in a file of "key number ..." lines; -1 if it is not there.
std::int64_t read_field(const char* path, std::string_view key) {
    const std::string text = read_text_file(path);
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        if (line.substr(0, key.size()) == key && line.size() > key.size() &&
            (line[key.size()] == ' ' || line[key.size()] == '\t'))
            return leading_number(line.substr(key.size()));
    }
    return -1;
}

// The file's one number; -1 for "max" or no such file.
std::int64_t read_number(const char* path) { return leading_number(read_text_file(path)); }

}  // namespace

std::int64_t available_memory_bytes() {
    const std::int64_t kib = read_field("/proc/meminfo", "MemAvailable:");
    std::int64_t available = kib < 0 ? 4096 * kMiB : kib * 1024;
    const std::int64_t limit = read_number("/sys/fs/cgroup/memory.max");
    const std::int64_t current = read_number("/sys/fs/cgroup/memory.current");
    if (limit >= 0 && current >= 0) {
        // Cached file pages count as used there but are given back on demand.
        const std::int64_t cached =
            std::max<std::int64_t>(0, read_field("/sys/fs/cgroup/memory.stat", "file"));
        available = std::min(available, std::max<std::int64_t>(0, limit - current + cached));
    }
    return available;
}

std::string KvPlan::describe() const {
    char times[32];
    std::snprintf(times, sizeof times, "%.1f", contexts());
    return "KV cache: " + format + ", " + std::to_string(n_blocks) + " blocks of " +
           std::to_string(block_tokens) + " tokens, " + mib(total_bytes()) + " at most (budget " +
           mib(budget_bytes) + "), context " + std::to_string(n_ctx) + ", " + times + " of them at once";
}

KvRoom room_for_all(std::span<const KvRoom> rooms) {
    KvRoom all;
    for (const KvRoom& room : rooms) all.layers += room.layers;
    const auto allowed = [&](std::int64_t KvRoom::* bytes) {
        double least = 0x1p62;
        for (const KvRoom& room : rooms)
            if (room.layers > 0)
                least = std::min(least, static_cast<double>(room.*bytes) * static_cast<double>(all.layers) /
                                            static_cast<double>(room.layers));
        return static_cast<std::int64_t>(least);
    };
    all.available_bytes = allowed(&KvRoom::available_bytes);
    all.budget_bytes = allowed(&KvRoom::budget_bytes);
    return all;
}

KvPlan plan_kv(const KvSizingInputs& in) {
    if (in.n_ctx < 0 || in.n_ctx > in.n_ctx_train) {
        fail(ErrorCode::invalid_argument, "cache", "n_ctx does not suit the model", std::to_string(in.n_ctx),
             "1 to " + std::to_string(in.n_ctx_train) + ", or none for the model's own");
    }
    KvPlan plan;
    plan.format = in.format;
    plan.block_tokens = in.block_tokens;
    plan.block_bytes = in.block_tokens * in.bytes_per_token;
    plan.budget_bytes = in.budget_bytes > 0 ? in.budget_bytes : in.available_bytes / 4;
    plan.n_ctx = in.n_ctx;
    if (in.n_ctx == 0) {
        const std::int64_t fitting = plan.budget_bytes / plan.block_bytes * plan.block_tokens;
        plan.n_ctx = std::min(in.n_ctx_train, fitting);
    }
    const std::int64_t blocks_per_context = ceil_div(plan.n_ctx, plan.block_tokens);
    const std::int64_t one_context = blocks_per_context * plan.block_bytes;
    if (plan.n_ctx < 1 || one_context > in.available_bytes / 10 * 9) {
        fail(ErrorCode::invalid_argument, "cache", "the KV cache of one context does not fit the memory",
             std::to_string(std::max<std::int64_t>(plan.n_ctx, 1)) + " tokens, " +
                 mib(std::max(one_context, plan.block_bytes)) + " with " + mib(in.available_bytes) +
                 " available",
             "a smaller n_ctx");
    }
    const std::int64_t within_budget = plan.budget_bytes / plan.block_bytes;
    plan.n_blocks = std::clamp(within_budget, blocks_per_context, blocks_per_context * in.max_batch);
    return plan;
}

}  // namespace llmcore
