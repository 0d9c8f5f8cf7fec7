// How many prompt rows a step may mix with decoding, learned from how long steps took.
#pragma once

#include <cstdint>

namespace llmcore {

class Pace {
public:
    // step_seconds: what a step that decodes should take at most, as far as decoding alone leaves time in it.
    explicit Pace(double step_seconds) : step_seconds_(step_seconds) {}

    // A step took that long for so many rows of prompts and of decoding sequences.
    void learn(double seconds, std::int64_t prompt_rows, std::int64_t decode_rows);
    // At least 1; huge as long as nothing is known.
    std::int64_t prompt_rows() const;
    // Of one prompt row; 0 as long as nothing is known.
    double row_seconds() const { return row_seconds_; }

private:
    double prompt_seconds() const;  // of a step that decodes, for prompts

    double step_seconds_;
    double decode_seconds_ = 0.0;  // of a step that only decodes, lately
    double row_seconds_ = 0.0;     // of a prompt row, lately
};

}  // namespace llmcore
