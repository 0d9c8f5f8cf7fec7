#include "engine/drafter.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/ceil_div.h"
#include "base/error.h"

namespace llmcore {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

void check_same_tokens(const Vocabulary& model, const Vocabulary& draft) {
    const std::int32_t common = std::min(model.size(), draft.size());
    const auto refuse = [](const std::string& what, const std::string& got, const std::string& expected) {
        fail(ErrorCode::model, "engine", "the draft model has another vocabulary: " + what, got, expected);
    };
    for (std::int32_t token = 0; token < common; ++token) {
        if (model.token_bytes(token) != draft.token_bytes(token) || model.type(token) != draft.type(token)) {
            refuse("token " + std::to_string(token), "other bytes or another type", "the model's");
        }
    }
    const Vocabulary& longer = model.size() > draft.size() ? model : draft;
    for (std::int32_t token = common; token < longer.size(); ++token) {
        if (longer.type(token) == TokenType::unused) continue;
        refuse("number of tokens", std::to_string(draft.size()), std::to_string(model.size()));
    }
}

Drafter::Drafter(std::unique_ptr<ModelRunner> runner, std::int64_t n_vocab)
    : runner_(std::move(runner)), limits_(runner_->limits()), n_vocab_(n_vocab), pool_(limits_.kv_blocks) {}

// Forgets what the sequence did not say after all. One token at least is left to run: its row is wanted.
void Drafter::roll_back(Cached& cached, std::span<const std::int32_t> tokens) const {
    const std::size_t most = std::min(cached.tokens.size(), tokens.size() - 1);
    std::size_t agreed = std::min(cached.agreed, most);
    while (agreed < most && cached.tokens[agreed] == tokens[agreed]) ++agreed;
    cached.tokens.resize(agreed);
    cached.agreed = agreed;
}

bool Drafter::secure(Cached& cached, std::int64_t n_tokens) {
    const std::int64_t needed = ceil_div(n_tokens, limits_.kv_block_tokens);
    while (static_cast<std::int64_t>(cached.blocks.size()) < needed) {
        if (pool_.free_blocks() == 0 && !take_back_idle()) return false;
        cached.blocks.push_back(pool_.take());
    }
    return true;
}

// Of the sequences that this call is not about, the one that was asked about longest ago gives its blocks.
bool Drafter::take_back_idle() {
    Cached* idle = nullptr;
    for (auto& [id, cached] : cached_) {
        if (cached.used == call_ || cached.blocks.empty()) continue;
        if (idle == nullptr || cached.used < idle->used) idle = &cached;
    }
    if (idle == nullptr) return false;
    release(*idle);
    return true;
}

void Drafter::release(Cached& cached) {
    for (const std::int32_t block : cached.blocks) pool_.release(block);
    cached.blocks.clear();
    cached.tokens.clear();
    cached.agreed = 0;
}

void Drafter::forget(SequenceId id) {
    const auto found = cached_.find(id);
    if (found == cached_.end()) return;
    release(found->second);
    cached_.erase(found);
}

void Drafter::forget_all() {
    for (auto& [id, cached] : cached_) release(cached);
    cached_.clear();
}

// Nothing where there is nothing to guess.
std::optional<Drafter::Active> Drafter::prepare(const Wish& wish) {
    Cached& cached = cached_[wish.id];
    cached.used = call_;
    wish.guesses->clear();
    roll_back(cached, wish.tokens);
    const auto known = static_cast<std::int64_t>(wish.tokens.size());
    if (wish.n_guesses < 1 || known > limits_.n_ctx) return std::nullopt;
    const auto lacking = wish.tokens.subspan(cached.tokens.size());
    const bool foreign = std::any_of(lacking.begin(), lacking.end(),
                                     [this](std::int32_t token) { return token >= limits_.n_vocab; });
    if (foreign || !secure(cached, std::min(known + wish.n_guesses - 1, limits_.n_ctx))) return std::nullopt;
    return Active{&wish, &cached, *wish.sampler, {lacking.begin(), lacking.end()}};
}

void Drafter::guess(std::span<const Wish> wishes, std::int64_t catch_up, StepCost& cost) {
    ++call_;
    std::vector<Active> actives;
    for (const Wish& wish : wishes) {
        if (std::optional<Active> active = prepare(wish)) actives.push_back(std::move(*active));
    }
    std::stable_sort(actives.begin(), actives.end(),
                     [](const Active& a, const Active& b) { return a.pending.size() < b.pending.size(); });
    std::int64_t most_rows = std::min(catch_up, limits_.max_step_tokens);
    while (!actives.empty()) {
        actives = step(std::move(actives), most_rows, cost);
        most_rows = limits_.max_step_tokens;
    }
}

// Runs what is pending and makes a guess for each sequence that is then caught up; returns those that get
// another.
std::vector<Drafter::Active> Drafter::step(std::vector<Active> actives, std::int64_t most_rows,
                                           StepCost& cost) {
    std::size_t stride = 1;
    for (const Active& active : actives) stride = std::max(stride, active.cached->blocks.size());
    rows_.begin(stride);
    std::vector<Active> running;
    for (Active& active : actives) {
        const std::int64_t room = most_rows - rows_.n_rows();
        const bool whole = static_cast<std::int64_t>(active.pending.size()) <= room;
        if (room <= 0 || (whole && rows_.n_wanted() == limits_.max_logit_rows)) continue;
        if (!whole) active.pending.resize(static_cast<std::size_t>(room));
        rows_.add(active.pending, static_cast<std::int64_t>(active.cached->tokens.size()),
                  active.cached->blocks, whole ? 1 : 0);
        running.push_back(std::move(active));
    }
    if (running.empty()) return running;
    const auto began = Clock::now();
    const std::span<const float> result = runner_->forward(rows_.batch());
    cost.learn(static_cast<double>(rows_.n_rows()),
               std::chrono::duration<double>(Clock::now() - began).count());
    std::vector<Active> going_on;
    for (std::size_t i = 0; i < running.size(); ++i) {
        Active& active = running[i];
        Cached& cached = *active.cached;
        cached.tokens.insert(cached.tokens.end(), active.pending.begin(), active.pending.end());
        cached.agreed = std::min(cached.tokens.size(), active.wish->tokens.size());
        const std::span<const float> row = rows_.result_of(i, result, limits_.n_vocab);
        if (row.empty() || !draw(active, row)) continue;
        const auto n_guesses = static_cast<std::int64_t>(active.wish->guesses->size());
        const bool full = static_cast<std::int64_t>(cached.tokens.size()) == limits_.n_ctx;
        if (n_guesses < active.wish->n_guesses && !full) going_on.push_back(std::move(active));
    }
    return going_on;
}

// With the sequence's own settings and random numbers: where both models agree, so do their tokens. False for
// a row that cannot be sampled from.
bool Drafter::draw(Active& active, std::span<const float> row) {
    try {
        active.pending.assign(1, active.sampler.next(fitted(row), scratch_));
    } catch (const Error&) {
        return false;
    }
    active.wish->guesses->push_back(active.pending.front());
    return true;
}

// As wide as the large model's rows; what the small one does not score is impossible.
std::span<const float> Drafter::fitted(std::span<const float> row) {
    const auto width = static_cast<std::size_t>(n_vocab_);
    if (row.size() >= width) return row.first(width);
    fitted_.assign(row.begin(), row.end());
    fitted_.resize(width, -std::numeric_limits<float>::infinity());
    return fitted_;
}

}  // namespace llmcore
