#include "engine/permission.h"

#include <algorithm>

#include "base/error.h"

namespace llmcore {

namespace {

void set(std::span<std::uint32_t> mask, std::int64_t token) {
    mask[static_cast<std::size_t>(token / 32)] |= 1U << (token % 32);
}

}  // namespace

Permission read_mask(std::span<std::uint32_t> mask, std::int64_t n_vocab, const RequestSpec& spec,
                     std::span<const std::int32_t> end_tokens) {
    const auto last = static_cast<std::size_t>(n_vocab / 32);
    const std::uint32_t end_bit = 1U << (n_vocab % 32);
    const bool may_end = (mask[last] & end_bit) != 0;
    mask[last] &= end_bit - 1;
    const bool may_go_on =
        std::any_of(mask.begin(), mask.end(), [](std::uint32_t word) { return word != 0; });
    if (!may_go_on && !may_end) {
        fail(ErrorCode::grammar, "grammar", "no token of the vocabulary continues the text");
    }
    if (!may_go_on) return {.complete = true, .allowed = {}};
    if (may_end) {
        for (const std::int32_t token : spec.stop_token_ids) set(mask, token);
        if (!spec.ignore_eos) {
            for (const std::int32_t token : end_tokens) {
                if (token >= 0 && token < n_vocab) set(mask, token);
            }
        }
    }
    return {.complete = false, .allowed = mask};
}

}  // namespace llmcore
