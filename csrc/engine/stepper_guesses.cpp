// Tokens that may come next: guessed before a step, judged after it.
#include <algorithm>
#include <chrono>
#include <exception>

#include "engine/prompt_lookup.h"
#include "engine/stepper.h"

namespace llmcore {

namespace {

// A draft model that fails so often without a success in between is given up.
constexpr int kMostDraftFailures = 3;
// Rows that a draft model may catch up with in a step, at least: however tight the time is, it gets on.
constexpr std::int64_t kLeastCatchUp = 64;

}  // namespace

// A grammar's next mask is not known before the token is, so guided sequences get no guesses.
void Stepper::guess() {
    std::vector<LiveSequence*> decoding;
    std::vector<LiveSequence*> to_draft;
    for (const auto& [id, active] : sequences_) {
        active->guesses.clear();
        active->drafted = false;
        const bool decodes = active->n_sampled() > 0 && scheduler_.cached_tokens(id) + 1 == active->n_known();
        if (!decodes) continue;
        decoding.push_back(active.get());
        if (active->request.spec.guided) continue;
        if (guesses_ > 0) {
            active->guesses = look_up_continuation(active->tokens, active->guess_length.next());
        }
        if (active->guesses.empty()) to_draft.push_back(active.get());
    }
    if (drafter_) draft(to_draft, static_cast<std::int64_t>(decoding.size()));
    for (const LiveSequence* active : decoding) {
        scheduler_.propose(active->id, static_cast<std::int64_t>(active->guesses.size()));
    }
}

// Whatever goes wrong in the draft model, sequences only get no guesses.
void Stepper::draft(std::span<LiveSequence* const> guessing, std::int64_t n_decoding) {
    const auto began = Clock::now();
    try {
        const std::vector<Drafter::Wish> wishes = draft_wishes(guessing, n_decoding);
        if (wishes.empty()) return;
        const std::int64_t catch_up = std::max(kLeastCatchUp, pace_.prompt_rows(0));
        drafter_->guess(wishes, catch_up, speculation_.draft_cost());
        draft_failures_in_row_ = 0;
    } catch (const std::exception&) {
        for (LiveSequence* active : guessing) active->guesses.clear();
        ++totals_.draft_failures;
        drafter_->forget_all();
        if (++draft_failures_in_row_ == kMostDraftFailures) drafter_.reset();
    }
    for (LiveSequence* active : guessing) active->drafted = !active->guesses.empty();
    totals_.draft_seconds += std::chrono::duration<double>(Clock::now() - began).count();
}

std::vector<Drafter::Wish> Stepper::draft_wishes(std::span<LiveSequence* const> guessing,
                                                 std::int64_t n_decoding) {
    std::vector<Drafter::Wish> wishes;
    const auto wish = [&](LiveSequence& active, std::int64_t n) {
        wishes.push_back({active.id, active.tokens, &active.sampler, n, &active.guesses});
    };
    // So that every sequence finds room for its own in the step.
    const std::int64_t room =
        std::min(limits_.max_step_tokens, limits_.max_logit_rows) / (n_decoding + 1) - 1;
    for (LiveSequence* active : guessing) {
        // Behind the last token nothing has to be guessed.
        const std::int64_t left = active->request.spec.max_tokens - active->n_sampled() - 1;
        const std::int64_t n = std::min({speculation_.guesses(active->guess_rate, n_decoding), room, left});
        if (n > 0) {
            wish(*active, n);
        } else {
            speculation_.follow(active->guess_rate, 0, 0);
        }
    }
    if (speculation_.looks_again(!wishes.empty()) && !guessing.empty()) wish(*guessing.front(), 1);
    return wishes;
}

void Stepper::learn_guesses(LiveSequence* sequence, bool drafted, std::size_t guessed, std::size_t right) {
    const auto n_guessed = static_cast<std::int64_t>(guessed);
    const auto n_right = static_cast<std::int64_t>(right);
    totals_.guessed_tokens += n_guessed;
    totals_.accepted_tokens += n_right;
    if (drafted) {
        totals_.drafted_tokens += n_guessed;
        totals_.accepted_draft_tokens += n_right;
    }
    if (sequence == nullptr || n_guessed == 0) return;
    if (drafted) {
        speculation_.follow(sequence->guess_rate, n_guessed, n_right);
    } else {
        sequence->guess_length.learn(n_guessed, n_right);
    }
}

}  // namespace llmcore
