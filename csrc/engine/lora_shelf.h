// The LoRA adapters that an engine's requests may name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/random_word.h"
#include "gguf/reader.h"
#include "model/lora.h"

namespace llmcore {

struct LoraSource {
    std::string name;
    std::filesystem::path path;
    float scale = 1.0F;
};

struct ServedAdapter {
    LoraSource source;
    LoraAdapter lora;
    // Of one shelf's adapters no two have the same, whatever their names, nor has one of an earlier process
    // whose cached blocks are still on disk.
    std::uint64_t serial = 0;

    std::int64_t bytes() const { return lora.weights->bytes(); }
};

// Opens and reads an adapter's file with `make`. Throws as that, Error(gguf), and Error(model) that names the
// adapter where it does not fit the memory.
std::shared_ptr<ServedAdapter> open_adapter(const LoraSource& source,
                                            const std::function<LoraAdapter(const gguf::File&, float)>& make);

// Names and their adapters; from any thread. A request keeps the adapter that it found, so that one can be
// removed, and another be added by its name, while it is in use.
class LoraShelf {
public:
    // Throws Error(invalid_argument) for a name that is in use, empty or too long, and beyond kMost adapters.
    void add(std::shared_ptr<ServedAdapter> adapter);
    void check_new(std::string_view name) const;
    // Throws Error(invalid_argument) if there is none of that name; so does find.
    void remove(std::string_view name);
    std::shared_ptr<const ServedAdapter> find(std::string_view name) const;
    std::vector<std::shared_ptr<const ServedAdapter>> all() const;  // by name

    static constexpr std::size_t kMost = 256;

private:
    void check_new_locked(std::string_view name) const;
    [[noreturn]] void refuse_unknown(std::string_view name) const;

    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<const ServedAdapter>, std::less<>> adapters_;
    std::uint64_t added_ = random_word();
};

}  // namespace llmcore
