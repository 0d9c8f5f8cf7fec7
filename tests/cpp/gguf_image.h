// Makes a small GGUF file in memory, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "gguf/reader.h"

namespace llmcore::test {

class GgufImage {
public:
    template <class T>
    GgufImage& scalar(std::string_view key, gguf::ValueType type, T value) {
        put_key(key, type);
        put(keys_, value);
        return *this;
    }

    GgufImage& string(std::string_view key, std::string_view value) {
        put_key(key, gguf::ValueType::string);
        put_text(keys_, value);
        return *this;
    }

    template <class T>
    GgufImage& array(std::string_view key, gguf::ValueType type, std::initializer_list<T> values) {
        put_key(key, gguf::ValueType::array);
        put(keys_, static_cast<std::uint32_t>(type));
        put(keys_, std::uint64_t{values.size()});
        for (const T value : values) put(keys_, value);
        return *this;
    }

    GgufImage& strings(std::string_view key, std::initializer_list<std::string_view> values) {
        put_key(key, gguf::ValueType::array);
        put(keys_, static_cast<std::uint32_t>(gguf::ValueType::string));
        put(keys_, std::uint64_t{values.size()});
        for (const std::string_view value : values) put_text(keys_, value);
        return *this;
    }

    // The tensor's data: bytes that count up from 0.
    GgufImage& tensor(std::string_view name, std::initializer_list<std::uint64_t> shape, Format format,
                      std::size_t n_bytes) {
        std::vector<std::uint8_t> data(n_bytes);
        for (std::size_t i = 0; i < n_bytes; ++i) data[i] = static_cast<std::uint8_t>(i);
        return tensor(name, shape, format, data);
    }

    GgufImage& tensor(std::string_view name, std::initializer_list<std::uint64_t> shape, Format format,
                      const std::vector<std::uint8_t>& data) {
        put_text(infos_, name);
        put(infos_, static_cast<std::uint32_t>(shape.size()));
        for (const std::uint64_t size : shape) put(infos_, size);
        put(infos_, static_cast<std::uint32_t>(format));
        put(infos_, std::uint64_t{data_.size()});
        for (const std::uint8_t byte : data) data_.push_back(static_cast<std::byte>(byte));
        pad(data_);
        ++tensor_count_;
        return *this;
    }

    std::vector<std::byte> build() const {
        std::vector<std::byte> bytes;
        for (const char letter : {'G', 'G', 'U', 'F'}) bytes.push_back(static_cast<std::byte>(letter));
        put(bytes, std::uint32_t{3});
        put(bytes, tensor_count_);
        put(bytes, key_count_);
        bytes.insert(bytes.end(), keys_.begin(), keys_.end());
        bytes.insert(bytes.end(), infos_.begin(), infos_.end());
        pad(bytes);
        bytes.insert(bytes.end(), data_.begin(), data_.end());
        return bytes;
    }

private:
    template <class T>
    static void put(std::vector<std::byte>& bytes, T value) {
        std::byte raw[sizeof value];
        std::memcpy(raw, &value, sizeof value);
        for (const std::byte byte : raw) bytes.push_back(byte);
    }

    static void put_text(std::vector<std::byte>& bytes, std::string_view text) {
        put(bytes, std::uint64_t{text.size()});
        for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
    }

    static void pad(std::vector<std::byte>& bytes) {
        while (bytes.size() % 32 != 0) bytes.push_back(std::byte{0});
    }

    void put_key(std::string_view key, gguf::ValueType type) {
        put_text(keys_, key);
        put(keys_, static_cast<std::uint32_t>(type));
        ++key_count_;
    }

    std::uint64_t tensor_count_ = 0;
    std::uint64_t key_count_ = 0;
    std::vector<std::byte> keys_, infos_, data_;
};

}  // namespace llmcore::test
