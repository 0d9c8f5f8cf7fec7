// More than 10,000 damaged files: each opens and can be read whole, or is Error(gguf). Meant for sanitizer
// builds, where reading one byte too many ends the run.
#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "gguf/reader.h"
#include "gguf_image.h"
#include "harness.h"

namespace {

using llmcore::gguf::File;
using llmcore::gguf::ValueType;
using llmcore::test::GgufImage;
using llmcore::test::Random;
using Bytes = std::vector<std::byte>;

Bytes sample() {
    GgufImage image;
    image.scalar("a", ValueType::u8, std::uint8_t{1})
        .scalar("b", ValueType::i64, std::int64_t{-5})
        .scalar("c", ValueType::boolean, true)
        .scalar("general.alignment", ValueType::u32, std::uint32_t{32})
        .string("general.name", "a name")
        .array<std::int16_t>("i16s", ValueType::i16, {-1, 2, 3})
        .array<double>("f64s", ValueType::f64, {1.5, -2.0})
        .array<bool>("bools", ValueType::boolean, {true, false})
        .strings("strings", {"", "one", "twenty"})
        .tensor("w", {32, 3}, llmcore::Format::Q8_0, 102)
        .tensor("x", {5, 1, 2, 1}, llmcore::Format::F16, 20)
        .tensor("y", {256}, llmcore::Format::Q4_K, 144);
    return image.build();
}

// Sums all bytes that a program can reach, so that every one is read.
std::uint64_t read_whole(const File& file) {
    std::uint64_t sum = file.version() + file.file_bytes();
    for (const auto& [key, value] : file.metadata()) {
        sum += key.size() + value.type_name().size();
        for (const std::byte byte : value.bytes()) sum += std::to_integer<unsigned>(byte);
        if (const auto texts = value.as_strings()) {
            for (const std::string_view text : *texts) sum += std::hash<std::string_view>{}(text);
        }
        if (const auto numbers = value.as_ints()) sum += numbers->size();
        if (const auto numbers = value.as_floats()) sum += numbers->size();
        if (const auto text = value.as_string()) sum += std::hash<std::string_view>{}(*text);
        sum += static_cast<std::uint64_t>(value.as_int().value_or(0)) + value.as_bool().value_or(false);
        sum += value.as_float().has_value();
    }
    for (const auto& tensor : file.tensors()) {
        sum += static_cast<std::uint64_t>(tensor.cols() + tensor.rows());
        for (std::uint64_t i = 0; i < tensor.n_bytes; ++i) sum += std::to_integer<unsigned>(tensor.data[i]);
    }
    return sum;
}

struct Outcome {
    int opened = 0;
    int refused = 0;
    std::uint64_t sum = 0;

    void add(Bytes bytes) {
        bytes.shrink_to_fit();
        try {
            sum += read_whole(File::from_bytes(std::move(bytes)));
            ++opened;
        } catch (const llmcore::Error& error) {
            if (error.code() == llmcore::ErrorCode::gguf) ++refused;
        }
    }

    void check(int cases) const {
        CHECK_MSG(opened + refused == cases, opened << " opened, " << refused << " refused, of " << cases);
        CHECK(refused > 100);
    }
};

template <class T>
Bytes overwrite(Bytes bytes, std::size_t at, T number) {
    std::memcpy(bytes.data() + at, &number, sizeof number);
    return bytes;
}

}  // namespace

LLMCORE_TEST(gguf_mutations_truncated) {
    const Bytes whole = sample();
    Outcome outcome;
    for (std::size_t size = 0; size < whole.size(); ++size) {
        outcome.add(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    }
    outcome.check(static_cast<int>(whole.size()));
}

LLMCORE_TEST(gguf_mutations_bit_flips) {
    const Bytes whole = sample();
    Outcome outcome;
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
        Bytes flipped = whole;
        flipped[bit / 8] ^= std::byte{1} << (bit % 8);
        outcome.add(std::move(flipped));
    }
    outcome.check(static_cast<int>(8 * whole.size()));
}

LLMCORE_TEST(gguf_mutations_lying_numbers) {
    constexpr std::uint64_t numbers[] = {0,          1,          2,          8,          33,
                                         255,        65535,      0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                         1ull << 32, 1ull << 61, 1ull << 62, ~0ull >> 1, 1ull << 63,
                                         ~63ull,     ~31ull,     ~0ull};
    const Bytes whole = sample();
    Outcome outcome;
    int cases = 0;
    for (std::size_t at = 4; at + 8 <= whole.size(); ++at) {
        for (const std::uint64_t number : numbers) {
            outcome.add(overwrite(whole, at, number));
            ++cases;
        }
        outcome.add(overwrite(whole, at, std::uint32_t{0xFFFFFFFF}));
        ++cases;
    }
    outcome.check(cases);
    CHECK(cases > 10000);
}

LLMCORE_TEST(gguf_mutations_splices) {
    const Bytes whole = sample();
    Random random(7);
    Outcome outcome;
    constexpr int cases = 5000;
    for (int i = 0; i < cases; ++i) {
        Bytes bytes = whole;
        for (std::uint64_t round = random.below(4) + 1; round > 0; --round) {
            const std::size_t size = random.below(24) + 1;
            const std::size_t from = random.below(bytes.size() - size),
                              to = random.below(bytes.size() - size);
            const auto at = [&bytes](std::size_t index) {
                return bytes.begin() + static_cast<std::ptrdiff_t>(index);
            };
            const Bytes piece(at(from), at(from + size));
            const std::uint64_t kind = random.below(3);
            if (kind == 0) bytes.insert(at(to), piece.begin(), piece.end());
            if (kind == 1) bytes.erase(at(to), at(to + size));
            if (kind == 2) std::copy(piece.begin(), piece.end(), at(to));
        }
        outcome.add(std::move(bytes));
    }
    outcome.check(cases);
}
