#include "gguf/reader.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/error.h"
#include "gguf/contents.h"
#include "gguf/name_index.h"
#include "gguf/parser.h"
#include "gguf/printable.h"

namespace llmcore::gguf {
namespace {

constexpr std::int64_t max_parts = 99999;  // five digits in the name

// A file that is open and checked.
struct OpenPart {
    Contents contents;
    Part part;
};

std::string printable_path(const std::filesystem::path& path) {
    return printable(path.native(), path.native().size());
}

OpenPart open_part(const std::filesystem::path& path) {
    Contents contents = Contents::map(path);
    Part part = Parser(printable_path(path), contents.bytes()).parse();
    return {std::move(contents), std::move(part)};
}

const Value* find_value(const Part& part, std::string_view key) {
    const auto position = part.keys.find(key);
    return position ? &part.metadata[*position].value : nullptr;
}

// An integer that describes the split; the fallback where there is none.
std::int64_t split_number(const Part& part, const std::string& file, std::string_view key,
                          std::int64_t fallback, std::int64_t most) {
    const Value* value = find_value(part, key);
    if (value == nullptr) return fallback;
    const std::optional<std::int64_t> number = value->as_int();
    if (!number || *number < 0 || *number > most) {
        fail(ErrorCode::gguf, "gguf", file + ", key " + printable(key) + ": the value cannot be used",
             number ? std::to_string(*number) : value->type_name(),
             "an integer from 0 to " + std::to_string(most));
    }
    return *number;
}

std::int64_t split_count(const Part& part, const std::string& file) {
    return split_number(part, file, "split.count", 1, max_parts);
}

std::string split_suffix(std::int64_t index, std::int64_t count) {
    char suffix[64];
    std::snprintf(suffix, sizeof suffix, "-%05lld-of-%05lld.gguf", static_cast<long long>(index + 1),
                  static_cast<long long>(count));
    return suffix;
}

// The paths of all parts, which must exist, from that of any one. Its metadata says which one; its name must
// agree.
std::vector<std::filesystem::path> split_paths(const std::filesystem::path& path, const Part& part,
                                               std::int64_t count) {
    const std::string file = printable_path(path);
    const std::int64_t index = split_number(part, file, "split.no", 0, count - 1);
    const std::string name = path.filename().native();
    const std::string suffix = split_suffix(index, count);
    if (name.size() < suffix.size() ||
        name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) {
        fail(ErrorCode::gguf, "gguf",
             file + ": the file is part " + std::to_string(index + 1) + " of " + std::to_string(count) +
                 " of a split model, but its name does not say so",
             printable(name), "a name that ends in " + printable(suffix));
    }
    const std::string stem = name.substr(0, name.size() - suffix.size());
    std::vector<std::filesystem::path> paths;
    for (std::int64_t i = 0; i < count; ++i) {
        paths.push_back(path.parent_path() / (stem + split_suffix(i, count)));
        std::error_code ignored;
        if (std::filesystem::exists(paths.back(), ignored)) continue;
        fail(ErrorCode::gguf, "gguf", "a part of a split model is missing",
             "no file " + printable_path(paths.back()),
             "all " + std::to_string(count) + " parts in one directory");
    }
    return paths;
}

void check_part(const Part& part, const std::string& file, std::int64_t index, std::int64_t count) {
    const std::int64_t own_count = split_count(part, file);
    const std::int64_t own_index = split_number(part, file, "split.no", 0, max_parts);
    if (own_count != count || own_index != index) {
        fail(ErrorCode::gguf, "gguf", file + ": the file is not the part that its name says",
             "part " + std::to_string(own_index + 1) + " of " + std::to_string(own_count),
             "part " + std::to_string(index + 1) + " of " + std::to_string(count));
    }
}

std::vector<OpenPart> open_split(const std::vector<std::filesystem::path>& paths) {
    const auto count = static_cast<std::int64_t>(paths.size());
    std::vector<OpenPart> parts;
    for (std::int64_t i = 0; i < count; ++i) {
        const std::filesystem::path& path = paths[static_cast<std::size_t>(i)];
        parts.push_back(open_part(path));
        check_part(parts.back().part, printable_path(path), i, count);
    }
    return parts;
}

}  // namespace

struct File::Impl {
    std::string file;  // of the first part, for messages
    std::vector<std::filesystem::path> paths;
    std::vector<Contents> contents;
    std::uint32_t version = 0;
    std::vector<KeyValue> metadata;
    NameIndex keys;
    std::vector<TensorInfo> tensors;
    NameIndex tensor_names;

    Impl(std::string name, std::vector<std::filesystem::path> part_paths, std::vector<OpenPart> parts);
    std::string part_name(const TensorInfo& tensor) const;
    void index_tensors();
    const Value& require(std::string_view key) const;
};

File::Impl::Impl(std::string name, std::vector<std::filesystem::path> part_paths, std::vector<OpenPart> parts)
    : file(std::move(name)), paths(std::move(part_paths)) {
    version = parts.front().part.version;
    metadata = std::move(parts.front().part.metadata);
    keys = std::move(parts.front().part.keys);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        for (TensorInfo& tensor : parts[i].part.tensors) {
            tensor.part = static_cast<std::uint32_t>(i);
            tensors.push_back(std::move(tensor));
        }
        contents.push_back(std::move(parts[i].contents));
    }
    index_tensors();
}

std::string File::Impl::part_name(const TensorInfo& tensor) const {
    return paths.empty() ? file : printable_path(paths[tensor.part]);
}

void File::Impl::index_tensors() {
    for (const TensorInfo& tensor : tensors) tensor_names.add(tensor.name);
    tensor_names.sort();
    if (const auto duplicate = tensor_names.find_duplicate()) {
        const TensorInfo& tensor = tensors[*duplicate];
        fail(ErrorCode::gguf, "gguf",
             part_name(tensor) + ", tensor " + printable(tensor.name) + ": the name is taken", "a duplicate",
             "distinct names");
    }
}

const Value& File::Impl::require(std::string_view key) const {
    const auto position = keys.find(key);
    if (!position) fail(ErrorCode::model, "gguf", file + ": the key " + printable(key) + " is missing");
    return metadata[*position].value;
}

File File::open(const std::filesystem::path& path) {
    OpenPart named = open_part(path);
    const std::int64_t count = split_count(named.part, printable_path(path));
    std::vector<std::filesystem::path> paths{path};
    std::vector<OpenPart> parts;
    if (count > 1) {
        paths = split_paths(path, named.part, count);
        parts = open_split(paths);
        std::size_t tensors = 0;
        for (const OpenPart& part : parts) tensors += part.part.tensors.size();
        const std::string first = printable_path(paths.front());
        const auto found = static_cast<std::int64_t>(tensors);
        const std::int64_t expected =
            split_number(parts.front().part, first, "split.tensors.count", found, INT64_MAX);
        if (found != expected) {
            fail(ErrorCode::gguf, "gguf", first + ": the parts do not hold all tensors",
                 std::to_string(found), std::to_string(expected) + ", as 'split.tensors.count' says");
        }
    } else {
        parts.push_back(std::move(named));
    }
    std::string name = printable_path(paths.front());
    return File(std::make_unique<Impl>(std::move(name), std::move(paths), std::move(parts)));
}

File File::from_bytes(std::vector<std::byte> bytes) {
    const std::string name = "<memory>";
    Contents contents = Contents::own(std::move(bytes));
    Part part = Parser(name, contents.bytes()).parse();
    const std::int64_t count = split_count(part, name);
    if (count > 1) {
        fail(ErrorCode::gguf, "gguf", name + ": a split model cannot be read from memory",
             "one of " + std::to_string(count) + " parts", "a model in one part, or the path of a part");
    }
    std::vector<OpenPart> parts;
    parts.push_back({std::move(contents), std::move(part)});
    return File(std::make_unique<Impl>(name, std::vector<std::filesystem::path>{}, std::move(parts)));
}

File::File(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

std::int64_t TensorInfo::rows() const {
    std::int64_t result = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) result *= shape[i];
    return result;
}

std::uint32_t File::version() const { return impl_->version; }
std::span<const KeyValue> File::metadata() const { return impl_->metadata; }
std::span<const TensorInfo> File::tensors() const { return impl_->tensors; }
std::vector<std::filesystem::path> File::paths() const { return impl_->paths; }
const FileReader* File::reader(std::uint32_t part) const { return impl_->contents[part].reader(); }

void File::check_whole() const {
    for (std::size_t part = 0; part < impl_->contents.size(); ++part)
        if (!impl_->contents[part].is_whole())
            fail(ErrorCode::gguf, "gguf", "the file was shortened while it was in use",
                 impl_->paths.empty() ? impl_->file : printable_path(impl_->paths[part]),
                 std::to_string(impl_->contents[part].bytes().size()) + " bytes, as when it was opened");
}

const Value* File::find(std::string_view key) const {
    const auto position = impl_->keys.find(key);
    return position ? &impl_->metadata[*position].value : nullptr;
}

const TensorInfo* File::find_tensor(std::string_view name) const {
    const auto position = impl_->tensor_names.find(name);
    return position ? &impl_->tensors[*position] : nullptr;
}

std::uint64_t File::file_bytes() const {
    std::uint64_t total = 0;
    for (const Contents& contents : impl_->contents) total += contents.bytes().size();
    return total;
}

namespace {

// The value that a conversion gave, or Error(model) with the type that the file has.
template <class T>
T expect(const std::optional<T>& converted, const std::string& file, std::string_view key, const Value& value,
         std::string_view expected) {
    if (!converted) {
        fail(ErrorCode::model, "gguf", file + ": the key " + printable(key) + " has the wrong type",
             value.type_name(), expected);
    }
    return *converted;
}

}  // namespace

std::int64_t File::get_int(std::string_view key) const {
    const Value& value = impl_->require(key);
    return expect(value.as_int(), impl_->file, key, value, "an integer below 2^63");
}

std::int64_t File::get_int(std::string_view key, std::int64_t fallback) const {
    return find(key) == nullptr ? fallback : get_int(key);
}

double File::get_float(std::string_view key, double fallback) const {
    const Value* value = find(key);
    return value == nullptr ? fallback : expect(value->as_float(), impl_->file, key, *value, "a number");
}

bool File::get_bool(std::string_view key, bool fallback) const {
    const Value* value = find(key);
    return value == nullptr ? fallback : expect(value->as_bool(), impl_->file, key, *value, "a boolean");
}

std::string File::get_string(std::string_view key) const {
    const Value& value = impl_->require(key);
    return std::string(expect(value.as_string(), impl_->file, key, value, "a string"));
}

std::string File::get_string(std::string_view key, std::string_view fallback) const {
    return find(key) == nullptr ? std::string(fallback) : get_string(key);
}

}  // namespace llmcore::gguf
