// The typed reads of the GGUF reader, which Python does not see. What it refuses is tested from Python.
#include <limits>
#include <string>
#include <utility>

#include "gguf/reader.h"
#include "gguf_image.h"
#include "harness.h"

namespace {

using llmcore::ErrorCode;
using llmcore::gguf::File;
using llmcore::gguf::ValueType;
using llmcore::test::GgufImage;

File sample() {
    GgufImage image;
    image.scalar("u8", ValueType::u8, std::uint8_t{255})
        .scalar("i32", ValueType::i32, std::int32_t{-7})
        .scalar("u64", ValueType::u64, std::numeric_limits<std::uint64_t>::max())
        .scalar("f32", ValueType::f32, 0.5f)
        .scalar("f64", ValueType::f64, 0.1)
        .scalar("bool", ValueType::boolean, true)
        .string("string", "text")
        .array<std::int16_t>("i16s", ValueType::i16, {-1, 2, 3})
        .array<std::uint64_t>("u64s", ValueType::u64, {1, std::numeric_limits<std::uint64_t>::max()})
        .array<float>("f32s", ValueType::f32, {1.5f, -2.0f})
        .array<bool>("bools", ValueType::boolean, {true, false})
        .strings("strings", {"", "b", "日"})
        .tensor("w", {32, 3, 2}, llmcore::Format::Q8_0, 6 * 34);
    return File::from_bytes(image.build());
}

// The message of the error that reading ends in; empty if there is none.
template <class Read>
std::string message_of(Read&& read) {
    try {
        read();
    } catch (const llmcore::Error& error) {
        return error.code() == ErrorCode::model ? error.what() : "another code";
    }
    return "";
}

}  // namespace

LLMCORE_TEST(gguf_scalars_convert_without_loss) {
    const File file = sample();
    CHECK(file.find("u8")->as_int() == 255);
    CHECK(file.find("i32")->as_int() == -7);
    CHECK(file.find("i32")->as_float() == -7.0);
    CHECK(!file.find("u64")->as_int());
    CHECK(file.find("u64")->as_float() == 18446744073709551616.0);
    CHECK(file.find("f32")->as_float() == 0.5);
    CHECK(file.find("f64")->as_float() == 0.1);
    CHECK(!file.find("f32")->as_int());
    CHECK(file.find("bool")->as_bool() == true);
    CHECK(!file.find("bool")->as_int());
    CHECK(!file.find("u8")->as_bool());
    CHECK(file.find("string")->as_string() == "text");
    CHECK(!file.find("string")->as_float());
    CHECK(!file.find("string")->as_strings());
    CHECK(!file.find("u8")->as_ints());
    CHECK(file.find("absent") == nullptr);
}

LLMCORE_TEST(gguf_arrays_convert_without_loss) {
    const File file = sample();
    CHECK((file.find("i16s")->as_ints() == std::vector<std::int64_t>{-1, 2, 3}));
    CHECK((file.find("i16s")->as_floats() == std::vector<float>{-1, 2, 3}));
    CHECK((file.find("bools")->as_ints() == std::vector<std::int64_t>{1, 0}));
    CHECK((file.find("f32s")->as_floats() == std::vector<float>{1.5f, -2.0f}));
    CHECK((file.find("strings")->as_strings() == std::vector<std::string_view>{"", "b", "日"}));
    CHECK(!file.find("u64s")->as_ints());
    CHECK(!file.find("f32s")->as_ints());
    CHECK(!file.find("bools")->as_floats());
    CHECK(!file.find("strings")->as_ints());
    CHECK(!file.find("i16s")->as_strings());
    CHECK(!file.find("i16s")->as_int());
    CHECK(file.find("strings")->type_name() == "array of 3 string");
}

LLMCORE_TEST(gguf_typed_reads) {
    const File file = sample();
    CHECK(file.get_int("u8") == 255);
    CHECK(file.get_int("absent", 9) == 9);
    CHECK(file.get_float("i32", 1.0) == -7.0);
    CHECK(file.get_float("absent", 1.0) == 1.0);
    CHECK(file.get_bool("bool", false));
    CHECK(file.get_bool("absent", true));
    CHECK(file.get_string("string") == "text");
    CHECK(file.get_string("absent", "other") == "other");
}

LLMCORE_TEST(gguf_typed_reads_name_the_key_and_its_type) {
    const File file = sample();
    CHECK(message_of([&] { file.get_int("absent"); }) == "[gguf] <memory>: the key 'absent' is missing");
    CHECK(message_of([&] { file.get_string("absent"); }) == "[gguf] <memory>: the key 'absent' is missing");
    CHECK(message_of([&] { file.get_int("string", 1); }) ==
          "[gguf] <memory>: the key 'string' has the wrong type; got string; expected an integer below 2^63");
    CHECK(message_of([&] { file.get_float("bool", 1); }) ==
          "[gguf] <memory>: the key 'bool' has the wrong type; got boolean; expected a number");
    CHECK(message_of([&] { file.get_bool("u8", true); }) ==
          "[gguf] <memory>: the key 'u8' has the wrong type; got u8; expected a boolean");
    CHECK(message_of([&] { file.get_string("strings", ""); }) ==
          "[gguf] <memory>: the key 'strings' has the wrong type; got array of 3 string; expected a string");
}

LLMCORE_TEST(gguf_tensors_and_moves) {
    File first = sample();
    const File file = std::move(first);
    const llmcore::gguf::TensorInfo* tensor = file.find_tensor("w");
    CHECK(tensor != nullptr && tensor == &file.tensors()[0]);
    CHECK(tensor->cols() == 32 && tensor->rows() == 6 && tensor->n_bytes == 6 * 34);
    CHECK(tensor->data[203] == std::byte{203});
    CHECK(file.find_tensor("v") == nullptr);
}
