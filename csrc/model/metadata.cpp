#include "model/metadata.h"

#include <limits>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr double kLargest = std::numeric_limits<float>::max();

std::int64_t checked(const std::string& key, std::int64_t value, std::int64_t least, std::int64_t largest) {
    if (value < least || value > largest)
        fail(ErrorCode::model, "model", "value of " + key, std::to_string(value),
             std::to_string(least) + " to " + std::to_string(largest));
    return value;
}

}  // namespace

std::int64_t Metadata::size(std::string_view key, std::int64_t largest) const {
    return checked(full(key), file_.get_int(full(key)), 1, largest);
}

std::int64_t Metadata::size(std::string_view key, std::int64_t fallback, std::int64_t largest) const {
    return checked(full(key), file_.get_int(full(key), fallback), 1, largest);
}

std::int64_t Metadata::optional_size(std::string_view key, std::int64_t largest) const {
    return checked(full(key), file_.get_int(full(key), 0), 0, largest);
}

double Metadata::number(std::string_view key, double fallback, bool zero_is_valid) const {
    const double value = file_.get_float(full(key), fallback);
    if (!(value >= 0.0 && value <= kLargest) || (value == 0.0 && !zero_is_valid))
        fail(ErrorCode::model, "model", "value of " + full(key), std::to_string(value),
             zero_is_valid ? "0 or a positive number" : "a positive number");
    return value;
}

double Metadata::positive(std::string_view key, double fallback) const {
    return number(key, fallback, false);
}

double Metadata::not_negative(std::string_view key, double fallback) const {
    return number(key, fallback, true);
}

std::vector<std::int64_t> Metadata::per_layer(std::string_view key, std::int64_t n_layers,
                                              std::int64_t fallback, std::int64_t largest) const {
    const std::string name = full(key);
    const gguf::Value* value = file_.find(name);
    std::vector<std::int64_t> numbers;
    if (value != nullptr && value->is_array())
        numbers = value->as_ints().value_or(std::vector<std::int64_t>());
    else
        numbers.assign(static_cast<std::size_t>(n_layers),
                       fallback > 0 ? file_.get_int(name, fallback) : file_.get_int(name));
    if (static_cast<std::int64_t>(numbers.size()) != n_layers)
        fail(ErrorCode::model, "model", "length of " + name, std::to_string(numbers.size()),
             "one number a layer, " + std::to_string(n_layers));
    for (const std::int64_t number : numbers) checked(name, number, 1, largest);
    return numbers;
}

}  // namespace llmcore
