#include "gguf/parser.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "gguf/printable.h"
#include "gguf/value_types.h"
#include "quant/format_table.h"

namespace llmcore::gguf {
namespace {

constexpr std::size_t max_name_bytes = 65535;
constexpr std::size_t max_dimensions = 4;
constexpr std::uint64_t max_alignment = 1u << 16;

// The fewest bytes that an entry can take: a name of one byte with its length, then the rest.
constexpr std::size_t least_key_bytes = 8 + 1 + 4 + 1;
constexpr std::size_t least_tensor_bytes = 8 + 1 + 4 + 8 + 4 + 8;

std::string bytes_text(std::uint64_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

bool is_big_endian(std::uint32_t version) { return version != 0 && (version & 0xFFFF) == 0; }

}  // namespace

Part Parser::parse() {
    parse_header();
    for (std::uint64_t i = 0; i < key_count_; ++i) parse_key_value();
    check_keys();
    take_alignment();
    for (std::uint64_t i = 0; i < tensor_count_; ++i) parse_tensor();
    place_tensors();
    check_overlap();
    return std::move(part_);
}

void Parser::parse_header() {
    const auto* magic = reinterpret_cast<const char*>(take(4, "the magic number"));
    if (std::memcmp(magic, "GGUF", 4) != 0) reject("not a GGUF file", printable({magic, 4}), "'GGUF'");
    part_.version = read<std::uint32_t>("the version");
    if (is_big_endian(part_.version)) {
        reject("the file's numbers are big-endian", "a big-endian version", "a little-endian file");
    }
    if (part_.version != 2 && part_.version != 3) {
        reject("the GGUF version is not supported", std::to_string(part_.version), "2 or 3");
    }
    tensor_count_ = read_count(least_tensor_bytes, "the number of tensors");
    key_count_ = read_count(least_key_bytes, "the number of keys");
}

void Parser::parse_key_value() {
    kind_ = {};
    const std::string_view key = read_name("a key");
    kind_ = "key";
    name_ = key;
    part_.metadata.push_back({key, parse_value()});
}

Value Parser::parse_value() {
    Value value;
    value.type_ = read_value_type("the value's type");
    if (value.type_ == ValueType::array) {
        parse_array(value);
    } else if (value.type_ == ValueType::string) {
        const std::byte* start = bytes_.data() + position_;
        take(read<std::uint64_t>("the string's length"), "the string");
        value.bytes_ = {start, bytes_.data() + position_};
    } else {
        const std::size_t size = size_of(value.type_);
        value.bytes_ = {take(size, "the value"), size};
        if (value.type_ == ValueType::boolean) check_booleans(value.bytes_.data(), 1);
    }
    return value;
}

void Parser::parse_array(Value& value) {
    value.is_array_ = true;
    value.type_ = read_value_type("the elements' type");
    if (value.type_ == ValueType::array)
        reject("arrays of arrays are not supported", "one", "an array of plain values");
    const bool strings = value.type_ == ValueType::string;
    const std::size_t size = strings ? sizeof(std::uint64_t) : size_of(value.type_);
    value.count_ = read_count(size, "the number of elements");
    const std::byte* start = bytes_.data() + position_;
    if (strings) {
        for (std::uint64_t i = 0; i < value.count_; ++i) {
            take(read<std::uint64_t>("a string's length"), "a string of the array");
        }
    } else {
        take(value.count_ * size, "the array");
        if (value.type_ == ValueType::boolean) check_booleans(start, value.count_);
    }
    value.bytes_ = {start, bytes_.data() + position_};
}

void Parser::check_booleans(const std::byte* values, std::uint64_t count) {
    const auto* bad =
        std::find_if(values, values + count, [](std::byte value) { return value > std::byte{1}; });
    if (bad == values + count) return;
    field_ = static_cast<std::size_t>(bad - bytes_.data());
    reject("a boolean is neither true nor false", std::to_string(std::to_integer<int>(*bad)), "0 or 1");
}

void Parser::check_keys() {
    for (const KeyValue& pair : part_.metadata) part_.keys.add(pair.key);
    part_.keys.sort();
    if (const auto duplicate = part_.keys.find_duplicate()) {
        enter("key", part_.metadata[*duplicate].key);
        reject("the key appears more than once", "a duplicate", "distinct keys");
    }
}

void Parser::take_alignment() {
    const auto position = part_.keys.find("general.alignment");
    if (!position) return;
    const KeyValue& pair = part_.metadata[*position];
    enter("key", pair.key);
    const std::string expected = "a power of two from 8 to " + std::to_string(max_alignment);
    const std::optional<std::int64_t> value = pair.value.as_int();
    if (!value) reject("the alignment cannot be used", pair.value.type_name(), expected);
    const auto alignment = static_cast<std::uint64_t>(*value);
    if (*value < 8 || alignment > max_alignment || !std::has_single_bit(alignment)) {
        reject("the alignment cannot be used", std::to_string(*value), expected);
    }
    alignment_ = alignment;
}

void Parser::parse_tensor() {
    kind_ = {};
    TensorInfo tensor;
    tensor.name = read_name("a tensor's name");
    kind_ = "tensor";
    name_ = tensor.name;
    const std::uint64_t elements = parse_shape(tensor);

    const auto type = read<std::uint32_t>("the tensor's type");
    const FormatInfo* format = find_format(type);
    if (format == nullptr)
        reject("the tensor's type is unknown", "type " + std::to_string(type), "a type of GGUF");
    tensor.format = format->format;
    if (tensor.shape[0] % format->block_elements != 0) {
        reject("the rows are not whole blocks", "rows of " + std::to_string(tensor.shape[0]),
               "a multiple of " + std::to_string(format->block_elements) + " for " + format->name);
    }
    const std::uint64_t blocks = elements / static_cast<std::uint64_t>(format->block_elements);
    const auto block_bytes = static_cast<std::uint64_t>(format->block_bytes);
    if (blocks > bytes_.size() / block_bytes) {
        reject("the tensor is larger than the file",
               std::to_string(elements) + " elements of " + format->name,
               "at most " + bytes_text(bytes_.size()));
    }
    tensor.n_bytes = blocks * block_bytes;
    // Relative to the tensors' data until place_tensors knows where that begins.
    tensor.file_offset = read<std::uint64_t>("the tensor's offset");
    if (tensor.file_offset % alignment_ != 0) {
        reject("the tensor is not aligned", "offset " + std::to_string(tensor.file_offset),
               "a multiple of " + std::to_string(alignment_));
    }
    part_.tensors.push_back(std::move(tensor));
}

std::uint64_t Parser::parse_shape(TensorInfo& tensor) {
    const auto dimensions = read<std::uint32_t>("the number of dimensions");
    if (dimensions < 1 || dimensions > max_dimensions) {
        reject("the number of dimensions is out of range", std::to_string(dimensions), "1 to 4");
    }
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    std::uint64_t elements = 1;
    tensor.shape.reserve(dimensions);
    for (std::uint32_t i = 0; i < dimensions; ++i) {
        const auto size = read<std::uint64_t>("a dimension");
        if (size == 0 || size > most / elements) {
            reject("a dimension is out of range", std::to_string(size),
                   "1 to " + std::to_string(most / elements));
        }
        elements *= size;
        tensor.shape.push_back(static_cast<std::int64_t>(size));
    }
    return elements;
}

void Parser::place_tensors() {
    // position_ is at most the span's size, which is far enough from 2^64 for this sum.
    const std::uint64_t start = (position_ + alignment_ - 1) / alignment_ * alignment_;
    const std::uint64_t available = start < bytes_.size() ? bytes_.size() - start : 0;
    for (TensorInfo& tensor : part_.tensors) {
        if (tensor.file_offset > available || tensor.n_bytes > available - tensor.file_offset) {
            enter("tensor", tensor.name);
            reject("the tensor's data runs past the end of the file",
                   bytes_text(tensor.n_bytes) + " at offset " + std::to_string(tensor.file_offset),
                   "at most " + bytes_text(available) + " of data");
        }
        tensor.file_offset += start;
        tensor.data = bytes_.data() + tensor.file_offset;
    }
}

void Parser::check_overlap() {
    std::vector<std::size_t> order(part_.tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
        return part_.tensors[a].file_offset < part_.tensors[b].file_offset;
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
        const TensorInfo& before = part_.tensors[order[i - 1]];
        const TensorInfo& after = part_.tensors[order[i]];
        if (after.file_offset - before.file_offset < before.n_bytes) {
            enter("tensor", after.name);
            reject("tensors share their data", "an overlap with " + printable(before.name), "separate data");
        }
    }
}

const std::byte* Parser::take(std::uint64_t size, std::string_view what) {
    field_ = position_;
    if (size > remaining()) {
        reject(std::string(what) + " runs past the end of the file", bytes_text(size),
               "at most the " + bytes_text(remaining()) + " that remain");
    }
    position_ += static_cast<std::size_t>(size);
    return bytes_.data() + field_;
}

template <class T>
T Parser::read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what), sizeof value);
    return value;
}

std::uint64_t Parser::read_count(std::size_t least_bytes, std::string_view what) {
    const auto count = read<std::uint64_t>(what);
    const std::uint64_t most = remaining() / least_bytes;
    if (count > most) {
        reject(std::string(what) + " is more than the file can hold", std::to_string(count),
               "at most " + std::to_string(most));
    }
    return count;
}

ValueType Parser::read_value_type(std::string_view what) {
    const auto number = read<std::uint32_t>(what);
    if (number > static_cast<std::uint32_t>(ValueType::f64)) {
        reject(std::string(what) + " is unknown", std::to_string(number), "0 to 12");
    }
    return static_cast<ValueType>(number);
}

std::string_view Parser::read_name(std::string_view what) {
    const auto length = read<std::uint64_t>(what);
    if (length == 0 || length > max_name_bytes) {
        reject("the length of " + std::string(what) + " is out of range", std::to_string(length),
               "1 to " + std::to_string(max_name_bytes));
    }
    const std::string_view name(reinterpret_cast<const char*>(take(length, what)),
                                static_cast<std::size_t>(length));
    if (!is_utf8(name)) reject(std::string(what) + " is not UTF-8", printable(name), "UTF-8");
    return name;
}

void Parser::reject(std::string_view what, std::string_view got, std::string_view expected) const {
    std::string where = file_ + ", byte " + std::to_string(field_);
    if (!kind_.empty()) where.append(", ").append(kind_).append(" ").append(printable(name_));
    fail(ErrorCode::gguf, "gguf", where.append(": ").append(what), got, expected);
}

void Parser::enter(std::string_view kind, std::string_view name) {
    kind_ = kind;
    name_ = name;
    field_ = static_cast<std::size_t>(reinterpret_cast<const std::byte*>(name.data()) - bytes_.data());
}

}  // namespace llmcore::gguf
