// Numbers of one architecture from a file's metadata, checked as they are read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"

namespace llmcore {

// Keys begin with the architecture's name. All reads throw Error(model) that names the key.
class Metadata {
public:
    Metadata(const gguf::File& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

    bool has(std::string_view key) const { return file_.find(full(key)) != nullptr; }

    // 1 to `largest`.
    std::int64_t size(std::string_view key, std::int64_t largest) const;
    std::int64_t size(std::string_view key, std::int64_t fallback, std::int64_t largest) const;
    // 0 to `largest`; 0 if the key is absent.
    std::int64_t optional_size(std::string_view key, std::int64_t largest) const;

    // Above 0, and a finite float32.
    double positive(std::string_view key, double fallback) const;
    // Not below 0, and a finite float32.
    double not_negative(std::string_view key, double fallback) const;

    bool flag(std::string_view key, bool fallback) const { return file_.get_bool(full(key), fallback); }
    std::string text(std::string_view key, std::string_view fallback) const {
        return file_.get_string(full(key), fallback);
    }

    // A number for all layers, or an array with one a layer; 1 to `largest`. A fallback of 0 is none.
    std::vector<std::int64_t> per_layer(std::string_view key, std::int64_t n_layers, std::int64_t fallback,
                                        std::int64_t largest) const;

    const gguf::File& file() const { return file_; }
    std::string full(std::string_view key) const { return prefix_ + "." + std::string(key); }

private:
    double number(std::string_view key, double fallback, bool zero_is_valid) const;

    const gguf::File& file_;
    std::string prefix_;
};

}  // namespace llmcore
