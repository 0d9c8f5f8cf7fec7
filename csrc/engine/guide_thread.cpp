#include "engine/guide_thread.h"

#include <exception>
#include <utility>

namespace llmcore {

GuideThread::GuideThread(std::unique_ptr<TokenGuide> guide, std::int64_t n_vocab)
    : guide_(std::move(guide)), n_vocab_(n_vocab) {}

GuideThread::~GuideThread() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void GuideThread::ask(std::vector<GuideQuery> queries) {
    wait();
    queries_ = std::move(queries);
    told_ = std::exchange(ended_, {});
    // No bit set, and an error in each place: what is not answered allows nothing.
    masks_.assign(queries_.size() * static_cast<std::size_t>(mask_words(n_vocab_)), 0);
    errors_.assign(queries_.size(), "[grammar] no answer");
    {
        const std::lock_guard lock(mutex_);
        busy_ = true;
        if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
    }
    changed_.notify_all();
}

void GuideThread::flush() {
    if (!ended_.empty()) ask({});
}

void GuideThread::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !busy_; });
}

std::span<std::uint32_t> GuideThread::mask(std::size_t i) {
    const auto words = static_cast<std::size_t>(mask_words(n_vocab_));
    return std::span(masks_).subspan(i * words, words);
}

void GuideThread::answer() {
    try {
        std::vector<std::string> errors = guide_->advance(queries_, told_, masks_);
        if (errors.size() == queries_.size()) errors_ = std::move(errors);
    } catch (const std::exception& error) {
        errors_.assign(queries_.size(), std::string("[grammar] ") + error.what());
    }
}

void GuideThread::loop() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return busy_ || stopping_; });
        if (stopping_) return;
        lock.unlock();
        answer();
        lock.lock();
        busy_ = false;
        changed_.notify_all();
    }
}

}  // namespace llmcore
