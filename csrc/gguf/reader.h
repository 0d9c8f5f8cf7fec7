// Reads GGUF v2 and v3, single or split, from a read-only memory map. Every offset, length, count and type is
// checked before use; whatever is wrong ends in Error(gguf) that says what and where. Format: the ggml
// project's docs/gguf.md. Sizes are those found when a file is opened: one that is shortened while it is open
// ends in SIGBUS when read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/formats.h"

namespace llmcore {
class FileReader;
}

namespace llmcore::gguf {

enum class ValueType : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

// A metadata value: a view into the mapped file, checked when the file was opened. For arrays, `type` is the
// type of the elements and `is_array` is set; nested arrays are refused.
class Value {
public:
    ValueType type() const { return type_; }
    bool is_array() const { return is_array_; }
    std::uint64_t count() const { return count_; }  // 1 for scalars

    // Converting reads of a scalar; nullopt where the type does not fit the request without loss.
    std::optional<std::int64_t> as_int() const;
    std::optional<double> as_float() const;  // any number, rounded to the nearest double
    std::optional<bool> as_bool() const;
    std::optional<std::string_view> as_string() const;

    // Elements of an array; nullopt for a scalar and for elements of another kind. Strings in one pass;
    // as_ints takes integers and booleans (as 0 and 1), as_floats any number.
    std::optional<std::vector<std::string_view>> as_strings() const;
    std::optional<std::vector<std::int64_t>> as_ints() const;
    std::optional<std::vector<float>> as_floats() const;

    // For messages: "u32", "string", "array of 5 string".
    std::string type_name() const;

    // The raw little-endian bytes of the value or of all elements (strings: lengths and bytes interleaved).
    std::span<const std::byte> bytes() const { return bytes_; }

private:
    friend class Parser;
    ValueType type_ = ValueType::u8;
    bool is_array_ = false;
    std::uint64_t count_ = 1;
    std::span<const std::byte> bytes_;
};

struct KeyValue {
    std::string_view key;
    Value value;
};

struct TensorInfo {
    std::string_view name;
    Format format = Format::none;
    std::vector<std::int64_t> shape;  // GGUF order: shape[0] is the row's length
    const std::byte* data = nullptr;
    std::uint64_t n_bytes = 0;
    std::uint64_t file_offset = 0;  // of data, from the start of its part
    std::uint32_t part = 0;         // index into File::paths()

    std::int64_t cols() const { return shape.empty() ? 1 : shape[0]; }
    std::int64_t rows() const;  // product of the other dimensions
};

class File {
public:
    // Opens `path`; of a split model (name-00001-of-0000N.gguf) every part is opened, whichever is named.
    static File open(const std::filesystem::path& path);

    // The same from memory; one part of a split model is refused. Tensors are aligned in the file as GGUF
    // demands, their addresses only as far as the vector's are.
    static File from_bytes(std::vector<std::byte> bytes);

    File(File&&) noexcept;
    File& operator=(File&&) noexcept;
    ~File();

    std::uint32_t version() const;
    std::span<const KeyValue> metadata() const;     // of the first part, in file order
    std::span<const TensorInfo> tensors() const;    // of all parts, in file order
    const Value* find(std::string_view key) const;  // null if absent
    const TensorInfo* find_tensor(std::string_view name) const;
    std::uint64_t file_bytes() const;                    // of all parts
    std::vector<std::filesystem::path> paths() const;    // one a part; empty if from memory
    const FileReader* reader(std::uint32_t part) const;  // null if from memory

    // Throws Error(gguf) if a part was shortened since: its mapped bytes must not be read then.
    void check_whole() const;

    // Typed reads. Without a default a missing key is Error(model); a wrong type always is.
    std::int64_t get_int(std::string_view key) const;
    std::int64_t get_int(std::string_view key, std::int64_t fallback) const;
    double get_float(std::string_view key, double fallback) const;
    bool get_bool(std::string_view key, bool fallback) const;
    std::string get_string(std::string_view key) const;
    std::string get_string(std::string_view key, std::string_view fallback) const;

private:
    struct Impl;
    explicit File(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace llmcore::gguf
