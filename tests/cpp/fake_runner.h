// A model that costs nothing: the next token is a function of the whole sequence, read back through the block
// table, so that a wrong block, position or order shows in the output.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/model_runner.h"
#include "sampling/random.h"
#include "tokenizer/vocabulary.h"

namespace llmcore::test {

inline constexpr std::int32_t kVocab = 64;
inline constexpr std::int32_t kEndToken = 63;
inline constexpr std::int32_t kThrowToken = 60;  // a step with it fails
inline constexpr std::int32_t kNanToken = 61;    // its logits are NaN

// What the fake model continues `tokens` with: 0 .. 51, a letter each.
inline std::int32_t next_token(std::span<const std::int32_t> tokens) {
    std::uint64_t state = 0;
    for (const std::int32_t token : tokens) state = mix_bits(state + static_cast<std::uint64_t>(token) + 1);
    return static_cast<std::int32_t>(state % 52);
}

class FakeRunner final : public ModelRunner {
public:
    explicit FakeRunner(const RunnerLimits& limits)
        : limits_(limits), cache_(static_cast<std::size_t>(limits.kv_blocks * limits.kv_block_tokens), -1) {}

    static RunnerLimits small_limits() {
        return {.n_vocab = kVocab,
                .d_model = 2,
                .n_ctx = 64,
                .kv_block_tokens = 4,
                .kv_blocks = 64,
                .max_step_tokens = 16,
                .max_logit_rows = 8};
    }

    RunnerLimits limits() const override { return limits_; }

    std::span<const float> forward(const Batch& batch) override {
        store(batch);
        const auto n_vocab = static_cast<std::size_t>(limits_.n_vocab);
        result_.assign(batch.logit_rows.size() * n_vocab, 0.0F);
        for_each_wanted(batch, [&](std::size_t i, const std::vector<std::int32_t>& tokens) {
            float* row = &result_[i * n_vocab];
            row[next_token(tokens)] = 10.0F;
            if (tokens.back() == kNanToken) row[0] = std::numeric_limits<float>::quiet_NaN();
        });
        return result_;
    }

    std::span<const float> hidden_states(const Batch& batch) override {
        store(batch);
        result_.assign(batch.logit_rows.size() * 2, 0.0F);
        for_each_wanted(batch, [this](std::size_t i, const std::vector<std::int32_t>& tokens) {
            result_[i * 2] = static_cast<float>(tokens.back());
            result_[i * 2 + 1] = static_cast<float>(tokens.size());
        });
        return result_;
    }

    // Places hold their token, so that contents which come back wrong show in the output.
    std::int64_t kv_block_bytes() const override {
        return copies_blocks ? limits_.kv_block_tokens * static_cast<std::int64_t>(sizeof(std::int32_t)) : 0;
    }
    void read_kv_block(std::int32_t block, std::byte* to) override {
        std::this_thread::sleep_for(std::chrono::microseconds(copy_microseconds.load()));
        std::memcpy(to, place(block), static_cast<std::size_t>(kv_block_bytes()));
    }
    void write_kv_block(std::int32_t block, const std::byte* from) override {
        std::this_thread::sleep_for(std::chrono::microseconds(copy_microseconds.load()));
        std::memcpy(place(block), from, static_cast<std::size_t>(kv_block_bytes()));
    }
    void copy_kv_block(std::int32_t from, std::int32_t to) override {
        std::memcpy(place(to), place(from), static_cast<std::size_t>(kv_block_bytes()));
    }

    ThreadPool* threads() override { return pool.get(); }

    std::unique_ptr<ThreadPool> pool;  // null: none
    bool copies_blocks = true;
    std::atomic<int> copy_microseconds{0};
    std::atomic<int> step_microseconds{0};
    std::atomic<int> row_microseconds{0};
    std::atomic<std::int64_t> rows{0};  // in all steps
    std::atomic<bool> overfull{false};  // a batch broke the limits

private:
    std::int32_t* place(std::int32_t block) {
        return &cache_.at(static_cast<std::size_t>(block * limits_.kv_block_tokens));
    }

    std::int32_t& cached(const Batch& batch, std::size_t sequence, std::int64_t position) {
        const std::int32_t block =
            batch.block_table[sequence * static_cast<std::size_t>(batch.block_table_stride) +
                              static_cast<std::size_t>(position / limits_.kv_block_tokens)];
        return cache_.at(
            static_cast<std::size_t>(block * limits_.kv_block_tokens + position % limits_.kv_block_tokens));
    }

    void store(const Batch& batch) {
        const auto n_rows = static_cast<std::int64_t>(batch.tokens.size());
        rows += n_rows;
        std::this_thread::sleep_for(
            std::chrono::microseconds(step_microseconds.load() + n_rows * row_microseconds.load()));
        if (static_cast<std::int64_t>(batch.tokens.size()) > limits_.max_step_tokens ||
            static_cast<std::int64_t>(batch.logit_rows.size()) > limits_.max_logit_rows) {
            overfull = true;
        }
        for (std::size_t s = 0; s + 1 < batch.row_starts.size(); ++s) {
            for (auto row = static_cast<std::size_t>(batch.row_starts[s]);
                 row < static_cast<std::size_t>(batch.row_starts[s + 1]); ++row) {
                if (batch.tokens[row] == kThrowToken) throw std::runtime_error("a poisoned token");
                cached(batch, s, batch.positions[row]) = batch.tokens[row];
            }
        }
    }

    template <typename F>
    void for_each_wanted(const Batch& batch, F&& f) {
        std::size_t s = 0;
        for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
            const std::int32_t row = batch.logit_rows[i];
            while (batch.row_starts[s + 1] <= row) ++s;
            std::vector<std::int32_t> tokens;
            for (std::int64_t p = 0; p <= batch.positions[static_cast<std::size_t>(row)]; ++p) {
                tokens.push_back(cached(batch, s, p));
            }
            f(i, tokens);
        }
    }

    RunnerLimits limits_;
    std::vector<std::int32_t> cache_;  // the token at each place of each block
    std::vector<float> result_;
};

// Tokens 0 .. 51 are letters, 52 a space, 53 and 54 the two bytes of one character, the last the end token.
inline Vocabulary fake_vocabulary() {
    std::vector<std::string> bytes(kVocab);
    std::vector<TokenType> types(kVocab, TokenType::normal);
    for (std::int32_t i = 0; i < 26; ++i) {
        bytes[static_cast<std::size_t>(i)] = std::string(1, static_cast<char>('a' + i));
        bytes[static_cast<std::size_t>(26 + i)] = std::string(1, static_cast<char>('A' + i));
    }
    bytes[52] = " ";
    bytes[53] = "\xC3";
    bytes[54] = "\xA9";
    bytes[kEndToken] = "<end>";
    types[kEndToken] = TokenType::control;
    return Vocabulary(std::move(bytes), std::move(types), {kEndToken}, true);
}

}  // namespace llmcore::test
