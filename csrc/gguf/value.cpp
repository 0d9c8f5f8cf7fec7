// Conversions of metadata values. The parser has checked that bytes() holds count() elements of type().
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "gguf/reader.h"
#include "gguf/value_types.h"

namespace llmcore::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie in memory");

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Calls visit(T{}) with the C++ type of a number or boolean; false for strings.
template <class Visit>
bool visit_type(ValueType type, Visit&& visit) {
    switch (type) {
        case ValueType::u8:
            visit(std::uint8_t{});
            return true;
        case ValueType::i8:
            visit(std::int8_t{});
            return true;
        case ValueType::u16:
            visit(std::uint16_t{});
            return true;
        case ValueType::i16:
            visit(std::int16_t{});
            return true;
        case ValueType::u32:
            visit(std::uint32_t{});
            return true;
        case ValueType::i32:
            visit(std::int32_t{});
            return true;
        case ValueType::u64:
            visit(std::uint64_t{});
            return true;
        case ValueType::i64:
            visit(std::int64_t{});
            return true;
        case ValueType::f32:
            visit(float{});
            return true;
        case ValueType::f64:
            visit(double{});
            return true;
        case ValueType::boolean:
            visit(bool{});
            return true;
        case ValueType::string:
        case ValueType::array:
            break;
    }
    return false;
}

template <class T>
bool fits_int64(T value) {
    return !std::is_same_v<T, std::uint64_t> ||
           static_cast<std::uint64_t>(value) <=
               static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

std::string_view next_string(const std::byte*& at) {
    const auto length = static_cast<std::size_t>(load<std::uint64_t>(at));
    const std::string_view text(reinterpret_cast<const char*>(at) + sizeof(std::uint64_t), length);
    at += sizeof(std::uint64_t) + length;
    return text;
}

}  // namespace

std::string_view name_of(ValueType type) {
    constexpr std::string_view names[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                          "boolean", "string", "array", "u64", "i64", "f64"};
    const auto number = static_cast<std::size_t>(type);
    return number < std::size(names) ? names[number] : "unknown type";
}

std::size_t size_of(ValueType type) {
    std::size_t size = 0;
    visit_type(type, [&](auto zero) { size = sizeof zero; });
    return size;
}

std::optional<std::int64_t> Value::as_int() const {
    std::optional<std::int64_t> result;
    if (is_array_) return result;
    visit_type(type_, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
            const T value = load<T>(bytes_.data());
            if (fits_int64(value)) result = static_cast<std::int64_t>(value);
        }
    });
    return result;
}

std::optional<double> Value::as_float() const {
    std::optional<double> result;
    if (is_array_) return result;
    visit_type(type_, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (!std::is_same_v<T, bool>) result = static_cast<double>(load<T>(bytes_.data()));
    });
    return result;
}

std::optional<bool> Value::as_bool() const {
    if (is_array_ || type_ != ValueType::boolean) return std::nullopt;
    return bytes_[0] != std::byte{0};
}

std::optional<std::string_view> Value::as_string() const {
    if (is_array_ || type_ != ValueType::string) return std::nullopt;
    const std::byte* at = bytes_.data();
    return next_string(at);
}

std::optional<std::vector<std::string_view>> Value::as_strings() const {
    if (!is_array_ || type_ != ValueType::string) return std::nullopt;
    std::vector<std::string_view> result;
    result.reserve(static_cast<std::size_t>(count_));
    const std::byte* at = bytes_.data();
    for (std::uint64_t i = 0; i < count_; ++i) result.push_back(next_string(at));
    return result;
}

std::optional<std::vector<std::int64_t>> Value::as_ints() const {
    if (!is_array_) return std::nullopt;
    std::vector<std::int64_t> result;
    bool converted = false;
    visit_type(type_, [&](auto zero) {
        using T = std::conditional_t<std::is_same_v<decltype(zero), bool>, std::uint8_t, decltype(zero)>;
        if constexpr (std::is_integral_v<T>) {
            result.reserve(static_cast<std::size_t>(count_));
            converted = true;
            for (std::uint64_t i = 0; i < count_; ++i) {
                const T value = load<T>(bytes_.data() + i * sizeof(T));
                converted = converted && fits_int64(value);
                result.push_back(static_cast<std::int64_t>(value));
            }
        }
    });
    if (!converted) return std::nullopt;
    return result;
}

std::optional<std::vector<float>> Value::as_floats() const {
    if (!is_array_) return std::nullopt;
    std::vector<float> result;
    bool converted = false;
    visit_type(type_, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (!std::is_same_v<T, bool>) {
            result.reserve(static_cast<std::size_t>(count_));
            converted = true;
            for (std::uint64_t i = 0; i < count_; ++i) {
                result.push_back(static_cast<float>(load<T>(bytes_.data() + i * sizeof(T))));
            }
        }
    });
    if (!converted) return std::nullopt;
    return result;
}

std::string Value::type_name() const {
    std::string name(name_of(type_));
    if (is_array_) name = "array of " + std::to_string(count_) + " " + name;
    return name;
}

}  // namespace llmcore::gguf
