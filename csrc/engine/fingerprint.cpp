#include "engine/fingerprint.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "kernels/registry.h"
#include "quant/format_table.h"
#include "sampling/random.h"

namespace llmcore {

namespace {

constexpr std::int64_t kSampledBytes = 4096;

class Digest {
public:
    void add(std::span<const std::byte> bytes) {
        add(bytes.size());
        // FNV-1a, mixed at the end; nobody has to be kept from making collisions here.
        std::uint64_t hash = 0xcbf29ce484222325ULL;
        for (const std::byte byte : bytes)
            hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3ULL;
        add(hash);
    }
    void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }
    void add(std::uint64_t value) { state_ = mix_bits(state_ * 0x9E3779B97F4A7C15ULL + value); }

    std::uint64_t value() const { return state_; }
    std::string text() const {
        std::array<char, 32> name;
        std::snprintf(name.data(), name.size(), "llmcore-%016llx", static_cast<unsigned long long>(state_));
        return name.data();
    }

private:
    std::uint64_t state_ = 0;
};

void add_tensor(const gguf::TensorInfo& tensor, Digest& digest) {
    digest.add(tensor.name);
    digest.add(static_cast<std::uint64_t>(tensor.format));
    for (const std::int64_t size : tensor.shape) digest.add(static_cast<std::uint64_t>(size));
    const std::int64_t bytes = tensor.rows() * row_bytes(tensor.format, tensor.cols());
    const auto sampled = static_cast<std::size_t>(std::min(bytes, kSampledBytes));
    digest.add(std::span(tensor.data, sampled));
    digest.add(std::span(tensor.data + (static_cast<std::size_t>(bytes) - sampled), sampled));
}

}  // namespace

std::string fingerprint(const gguf::File& file, const TensorFormats& formats, const std::string& settings) {
    Digest digest;
    for (const gguf::KeyValue& entry : file.metadata()) {
        digest.add(entry.key);
        digest.add(entry.value.bytes());
    }
    for (const gguf::TensorInfo& tensor : file.tensors()) add_tensor(tensor, digest);
    for (const auto& [name, format] : formats) {
        digest.add(std::string_view(name));
        digest.add(static_cast<std::uint64_t>(format));
    }
    const KernelSelector selector = KernelSelector::from_environment();
    for (const Kernel* kernel : selector.usable()) digest.add(std::string_view(kernel->name));
    if (const char* forced = std::getenv("LLMCORE_KERNEL")) digest.add(std::string_view(forced));
    digest.add(std::string_view(__VERSION__));  // the compiler's: it may sum in another order
    digest.add(std::string_view(settings));
    return digest.text();
}

std::string fingerprint(const std::string& model, const std::string& setting) {
    Digest digest;
    digest.add(std::string_view(model));
    digest.add(std::string_view(setting));
    return digest.text();
}

std::uint64_t cache_fingerprint(const std::string& fingerprint, const ModelSpec& spec,
                                std::int64_t block_tokens) {
    Digest digest;
    digest.add(std::string_view(fingerprint));
    digest.add(static_cast<std::uint64_t>(block_tokens));
    // The context that a model is opened with may choose between frequencies.
    for (const RopeSpec& rope : {spec.rope, spec.window_rope}) {
        digest.add(std::as_bytes(std::span(rope.inv_freq)));
        digest.add(std::as_bytes(std::span(&rope.magnitude, 1)));
    }
    return digest.value();
}

}  // namespace llmcore
