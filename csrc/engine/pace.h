// How many prompt rows a step may mix with decoding, learned from how long steps took.
#pragma once

#include <cstdint>
#include <optional>

namespace llmcore {

class Pace {
public:
    // bound: what a step that decodes may take, in seconds, as far as decoding alone leaves time in it;
    // prompts get a share of decoding's time in any case, so that nobody starves behind it. Without one, a
    // step grows with how many wait for their first token for each that decodes: else the few that came first
    // would keep the machine from the many behind them.
    explicit Pace(std::optional<double> bound) : bound_(bound) {}

    // A step took that long for so many rows of prompts and of decoding sequences.
    void learn(double seconds, std::int64_t prompt_rows, std::int64_t decode_rows);
    // For a step that decodes as many rows as the last that did, while so many sequences wait for their
    // prompts. brief: one of these is soon over, and steps may be longer till then. 0 at first and now and
    // then, so that a step shows what decoding alone takes.
    std::int64_t prompt_rows(std::int64_t waiting, bool brief = false) const;
    // Of one prompt row; 0 as long as nothing is known.
    double row_seconds() const { return row_seconds_; }

private:
    double decode_seconds(std::int64_t rows) const;  // of a step that only decodes; 0 if that is not known
    // Of the next step that decodes, for prompts.
    double prompt_seconds(std::int64_t waiting, bool brief) const;

    std::optional<double> bound_;
    double decode_seconds_ = 0.0;  // of a step that only decodes `decode_rows_`, lately
    std::int64_t decode_rows_ = 0;
    double row_seconds_ = 0.0;      // that a prompt row adds, lately
    std::int64_t decoding_ = 0;     // rows of the last step that decoded
    std::int64_t mixed_steps_ = 0;  // since one that only decoded
};

}  // namespace llmcore
