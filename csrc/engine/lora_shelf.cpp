#include "engine/lora_shelf.h"

#include <utility>

#include "base/error.h"
#include "cache/kv_sizing.h"
#include "gguf/printable.h"

namespace llmcore {

namespace {

constexpr std::string_view kComponent = "lora";
constexpr std::size_t kLongestName = 128;

}  // namespace

std::shared_ptr<ServedAdapter> open_adapter(
    const LoraSource& source, const std::function<LoraAdapter(const gguf::File&, float)>& make) {
    try {
        const gguf::File file = gguf::File::open(source.path);
        const std::int64_t available = available_memory_bytes();
        if (static_cast<std::int64_t>(file.file_bytes()) > available / 10 * 9)
            fail(ErrorCode::model, kComponent, "the file does not fit the memory",
                 std::to_string(file.file_bytes()) + " bytes", "less than " + std::to_string(available));
        return std::make_shared<ServedAdapter>(ServedAdapter{source, make(file, source.scale)});
    } catch (const Error& error) {
        throw Error(error.code(), "[lora] adapter " + gguf::printable(source.name) + ": " + error.what());
    }
}

void LoraShelf::check_new_locked(std::string_view name) const {
    if (name.empty() || name.size() > kLongestName)
        fail(ErrorCode::invalid_argument, kComponent, "name of an adapter", gguf::printable(name),
             "1 to " + std::to_string(kLongestName) + " bytes");
    if (adapters_.contains(name))
        fail(ErrorCode::invalid_argument, kComponent, "name of an adapter", gguf::printable(name),
             "a new one");
    if (adapters_.size() >= kMost)
        fail(ErrorCode::invalid_argument, kComponent, "too many adapters", std::to_string(adapters_.size()),
             "at most " + std::to_string(kMost));
}

void LoraShelf::check_new(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    check_new_locked(name);
}

void LoraShelf::add(std::shared_ptr<ServedAdapter> adapter) {
    const std::lock_guard lock(mutex_);
    check_new_locked(adapter->source.name);
    adapter->serial = ++added_;
    std::string name = adapter->source.name;
    adapters_.emplace(std::move(name), std::move(adapter));
}

void LoraShelf::refuse_unknown(std::string_view name) const {
    std::string known;
    for (const auto& entry : adapters_) known.append(known.empty() ? "" : ", ").append(entry.first);
    fail(ErrorCode::invalid_argument, kComponent, "no such adapter", gguf::printable(name),
         known.empty() ? "none: no adapter is loaded" : known);
}

void LoraShelf::remove(std::string_view name) {
    std::shared_ptr<const ServedAdapter> removed;  // freed after the lock
    const std::lock_guard lock(mutex_);
    const auto found = adapters_.find(name);
    if (found == adapters_.end()) refuse_unknown(name);
    removed = std::move(found->second);
    adapters_.erase(found);
}

std::shared_ptr<const ServedAdapter> LoraShelf::find(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const auto found = adapters_.find(name);
    if (found == adapters_.end()) refuse_unknown(name);
    return found->second;
}

std::vector<std::shared_ptr<const ServedAdapter>> LoraShelf::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<const ServedAdapter>> found;
    for (const auto& entry : adapters_) found.push_back(entry.second);
    return found;
}

}  // namespace llmcore
