// One GGUF file, read from front to back: nothing is used before it is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/name_index.h"
#include "gguf/reader.h"

namespace llmcore::gguf {

// Views into the bytes that were parsed.
struct Part {
    std::uint32_t version = 0;
    std::vector<KeyValue> metadata;   // in file order
    NameIndex keys;                   // of metadata
    std::vector<TensorInfo> tensors;  // in file order
};

class Parser {
public:
    // `file` names the file in messages, ready to print; `bytes` must outlive the Part.
    Parser(std::string file, std::span<const std::byte> bytes) : file_(std::move(file)), bytes_(bytes) {}

    // Called once. Throws Error(gguf).
    Part parse();

private:
    void parse_header();
    void parse_key_value();
    Value parse_value();
    void parse_array(Value& value);
    void check_booleans(const std::byte* values, std::uint64_t count);
    void check_keys();
    void take_alignment();

    void parse_tensor();
    std::uint64_t parse_shape(TensorInfo& tensor);  // the number of elements
    void place_tensors();
    void check_overlap();

    std::size_t remaining() const { return bytes_.size() - position_; }
    // Moves over the next `size` bytes, which must be there.
    const std::byte* take(std::uint64_t size, std::string_view what);
    template <class T>
    T read(std::string_view what);
    // A count of things that take at least `least_bytes` each in what remains of the file.
    std::uint64_t read_count(std::size_t least_bytes, std::string_view what);
    ValueType read_value_type(std::string_view what);
    std::string_view read_name(std::string_view what);

    // Throws Error(gguf); the message names the file, the byte, and the key or tensor at hand.
    [[noreturn]] void reject(std::string_view what, std::string_view got, std::string_view expected) const;
    // Makes a key or tensor the one at hand, its name the place.
    void enter(std::string_view kind, std::string_view name);

    std::string file_;
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
    std::size_t field_ = 0;  // where the field read last begins
    std::string_view kind_;  // "key" or "tensor"; empty outside
    std::string_view name_;
    std::uint64_t key_count_ = 0;
    std::uint64_t tensor_count_ = 0;
    std::uint64_t alignment_ = 32;
    Part part_;
};

}  // namespace llmcore::gguf
