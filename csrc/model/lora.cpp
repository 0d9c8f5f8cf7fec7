#include "model/lora.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gguf/printable.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr std::string_view kComponent = "lora";
constexpr std::int64_t kMostRank = 1024;  // the largest that adapters are trained with is 256

[[noreturn]] void refuse(const std::string& what) { fail(ErrorCode::model, kComponent, what); }
[[noreturn]] void refuse(const std::string& what, const std::string& got, const std::string& expected) {
    fail(ErrorCode::model, kComponent, what, got, expected);
}

void expect_text(const gguf::File& file, const char* key, const std::string& expected) {
    const std::string got = file.get_string(key, "");
    if (got != expected) refuse(key, gguf::printable(got), "'" + expected + "'");
}

// The two halves of one change, as the file has them.
struct Halves {
    const gguf::TensorInfo* a = nullptr;
    const gguf::TensorInfo* b = nullptr;
};

std::map<std::string, Halves> pair_up(const gguf::File& file) {
    std::map<std::string, Halves> pairs;
    for (const gguf::TensorInfo& tensor : file.tensors()) {
        const bool is_a = tensor.name.ends_with(".lora_a");
        if (!is_a && !tensor.name.ends_with(".lora_b"))
            refuse("unsupported tensor " + gguf::printable(tensor.name),
                   "a tensor that is no half of a low-rank change", "names that end in .lora_a or .lora_b");
        Halves& halves = pairs[std::string(tensor.name.substr(0, tensor.name.size() - 7))];
        (is_a ? halves.a : halves.b) = &tensor;
    }
    if (pairs.empty()) refuse("the adapter changes nothing", "no tensors", "pairs of .lora_a and .lora_b");
    return pairs;
}

const PlacedMatrix& matrix_named(const std::string& name, const ModelWeights& weights) {
    if (name == "token_embd.weight")
        refuse("adapters of token_embd.weight, the token embedding, are not supported");
    if (name.ends_with("_exps.weight"))
        refuse("adapters of experts are not supported: tensor " + gguf::printable(name));
    const auto found = weights.matrices.find(name);
    if (found == weights.matrices.end())
        refuse("the model has no matrix " + gguf::printable(name) + ": the adapter is another model's");
    return found->second;
}

std::string shape_text(const gguf::TensorInfo& tensor) {
    std::string text;
    for (const std::int64_t size : tensor.shape)
        text.append(text.empty() ? "" : " x ").append(std::to_string(size));
    return text;
}

WeightView view_of(const gguf::TensorInfo& tensor, std::int64_t rows, std::int64_t cols) {
    if (tensor.format != Format::F32 && tensor.format != Format::F16 && tensor.format != Format::BF16)
        refuse("format of tensor " + gguf::printable(tensor.name), format_info(tensor.format).name,
               "F32, F16 or BF16");
    if (tensor.shape.size() > 2 || tensor.cols() != cols || tensor.rows() != rows)
        refuse("shape of tensor " + gguf::printable(tensor.name), shape_text(tensor),
               std::to_string(cols) + " x " + std::to_string(rows));
    return {
        .format = tensor.format, .stored = tensor.format, .rows = rows, .cols = cols, .data = tensor.data};
}

// One change a part that the matrix was taken apart to: rows of B go with it, A serves them all.
void add_changes(const std::string& name, const Halves& halves, const PlacedMatrix& matrix, double factor,
                 std::vector<LowRankChange>& changes) {
    if (halves.a == nullptr || halves.b == nullptr)
        refuse("tensor " + gguf::printable(name + (halves.a == nullptr ? ".lora_a" : ".lora_b")) +
               " is missing");
    const std::int64_t rank = halves.a->rows();
    if (rank < 1 || rank > kMostRank)
        refuse("rank of tensor " + gguf::printable(halves.a->name), std::to_string(rank),
               "1 to " + std::to_string(kMostRank));
    const WeightView a = view_of(*halves.a, rank, matrix.cols);
    const WeightView b = view_of(*halves.b, matrix.rows, rank);
    for (const PlacedMatrix::Part& part : matrix.parts) {
        WeightView rows = b;
        rows.rows = part.rows;
        rows.data = static_cast<const std::byte*>(b.data) + part.first * row_bytes(b.format, rank);
        changes.push_back({.weight = part.weight, .a = a, .b = rows, .scale = static_cast<float>(factor)});
    }
}

}  // namespace

LoraAdapter read_lora(const gguf::File& file, const ModelSpec& spec, const ModelWeights& weights, float scale,
                      const Backend& backend) {
    expect_text(file, "general.type", "adapter");
    expect_text(file, "adapter.type", "lora");
    expect_text(file, "general.architecture", spec.architecture);
    if (file.find("adapter.alora.invocation_tokens") != nullptr)
        refuse("adapters that wait for invocation tokens (aLoRA) are not supported");
    const double alpha = file.get_float("adapter.lora.alpha", 0.0);
    if (!std::isfinite(alpha)) refuse("adapter.lora.alpha", std::to_string(alpha), "a finite number");
    if (!std::isfinite(scale)) refuse("scale", std::to_string(scale), "a finite number");

    LoraAdapter made;
    std::vector<LowRankChange> changes;
    for (const auto& [name, halves] : pair_up(file)) {
        const PlacedMatrix& matrix = matrix_named(name, weights);
        const std::int64_t rank = halves.a == nullptr ? 1 : std::max<std::int64_t>(1, halves.a->rows());
        const double share = alpha == 0.0 ? 1.0 : alpha / static_cast<double>(rank);
        const double factor = static_cast<double>(scale) * share;
        if (!std::isfinite(static_cast<float>(factor)))
            refuse("scale * adapter.lora.alpha / rank", std::to_string(factor), "a finite float32");
        add_changes(name, halves, matrix, factor, changes);
        made.largest_rank = std::max(made.largest_rank, rank);
        ++made.n_matrices;
    }
    made.weights = backend.make_adapter(changes);
    return made;
}

}  // namespace llmcore
