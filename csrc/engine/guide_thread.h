// Asks a TokenGuide on a thread of its own, so that masks are made while the model computes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/token_guide.h"

namespace llmcore {

class GuideThread {
public:
    // The thread starts with the first question.
    GuideThread(std::unique_ptr<TokenGuide> guide, std::int64_t n_vocab);
    ~GuideThread();
    GuideThread(const GuideThread&) = delete;
    GuideThread& operator=(const GuideThread&) = delete;

    // Begins to answer `queries` and returns. The answers of the questions before are gone.
    void ask(std::vector<GuideQuery> queries);
    // A sequence that was or might be asked about has ended; told with the next question, or by flush.
    void forget(const GuidedSequence& sequence) { ended_.push_back(sequence); }
    // Tells of ended sequences now.
    void flush();

    // Waits until the last question is answered.
    void wait();
    // Of query `i` of the last question, after wait.
    std::span<std::uint32_t> mask(std::size_t i);
    const std::string& error(std::size_t i) const { return errors_[i]; }

private:
    void loop();
    void answer();

    const std::unique_ptr<TokenGuide> guide_;
    const std::int64_t n_vocab_;
    // The thread's own while busy_, the caller's otherwise.
    std::vector<GuideQuery> queries_;
    std::vector<GuidedSequence> told_;
    std::vector<std::uint32_t> masks_;
    std::vector<std::string> errors_;

    std::vector<GuidedSequence> ended_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool busy_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace llmcore
