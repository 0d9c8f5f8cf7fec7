#include "model/weights.h"

#include <set>
#include <string>

#include "base/error.h"
#include "gguf/printable.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr std::string_view kComponent = "model";

std::string shape_text(std::int64_t rows, std::int64_t cols) {
    return std::to_string(cols) + " x " + std::to_string(rows);
}

class WeightBinder {
public:
    WeightBinder(const gguf::File& file, Backend& backend) : file_(file), backend_(backend) {}

    Weight matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
        const gguf::TensorInfo* tensor = file_.find_tensor(name);
        if (tensor == nullptr) fail(ErrorCode::model, kComponent, "missing tensor " + name);
        if (tensor->rows() != rows || tensor->cols() != cols)
            fail(ErrorCode::model, kComponent, "shape of tensor " + name,
                 shape_text(tensor->rows(), tensor->cols()), shape_text(rows, cols));
        if (!format_info(tensor->format).can_dequantize)
            fail(ErrorCode::model, kComponent,
                 "tensor " + name + " has the unsupported format " + format_info(tensor->format).name);
        bound_.insert(name);
        bytes_ += static_cast<std::int64_t>(tensor->n_bytes);
        return backend_.upload({.format = tensor->format, .rows = rows, .cols = cols, .data = tensor->data});
    }

    Weight vector(const std::string& name, std::int64_t size) {
        const gguf::TensorInfo* tensor = file_.find_tensor(name);
        if (tensor != nullptr && tensor->format != Format::F32)
            fail(ErrorCode::model, kComponent, "format of tensor " + name, format_info(tensor->format).name,
                 "F32");
        return matrix(name, 1, size);
    }

    Weight optional_vector(const std::string& name, std::int64_t size) {
        return has(name) ? vector(name, size) : Weight();
    }

    bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }
    void mark_used(const std::string& name) { bound_.insert(name); }
    std::int64_t bytes() const { return bytes_; }

    // A tensor nobody reads would be a model half understood.
    void refuse_unused() const {
        for (const gguf::TensorInfo& tensor : file_.tensors())
            if (!bound_.contains(std::string(tensor.name)))
                fail(ErrorCode::model, kComponent,
                     "unsupported tensor " + gguf::printable(tensor.name) +
                         ": no part of this architecture as supported");
    }

private:
    const gguf::File& file_;
    Backend& backend_;
    std::set<std::string> bound_;
    std::int64_t bytes_ = 0;
};

LayerWeights bind_layer(WeightBinder& binder, const ModelSpec& spec, std::size_t index) {
    const LayerSpec& layer = spec.layers[index];
    const std::string prefix = "blk." + std::to_string(index) + ".";
    const std::int64_t q_size = layer.n_heads * spec.head_dim;
    const std::int64_t kv_size = layer.n_kv_heads * spec.head_dim;
    LayerWeights weights;
    weights.attn_norm = binder.vector(prefix + "attn_norm.weight", spec.d_model);
    weights.q = binder.matrix(prefix + "attn_q.weight", q_size, spec.d_model);
    weights.k = binder.matrix(prefix + "attn_k.weight", kv_size, spec.d_model);
    weights.v = binder.matrix(prefix + "attn_v.weight", kv_size, spec.d_model);
    weights.q_bias = binder.optional_vector(prefix + "attn_q.bias", q_size);
    weights.k_bias = binder.optional_vector(prefix + "attn_k.bias", kv_size);
    weights.v_bias = binder.optional_vector(prefix + "attn_v.bias", kv_size);
    weights.q_norm = binder.optional_vector(prefix + "attn_q_norm.weight", spec.head_dim);
    weights.k_norm = binder.optional_vector(prefix + "attn_k_norm.weight", spec.head_dim);
    weights.attn_out = binder.matrix(prefix + "attn_output.weight", spec.d_model, q_size);
    weights.attn_out_bias = binder.optional_vector(prefix + "attn_output.bias", spec.d_model);
    weights.ffn_norm = binder.vector(prefix + "ffn_norm.weight", spec.d_model);
    weights.ffn_gate = binder.matrix(prefix + "ffn_gate.weight", layer.d_ff, spec.d_model);
    weights.ffn_up = binder.matrix(prefix + "ffn_up.weight", layer.d_ff, spec.d_model);
    weights.ffn_down = binder.matrix(prefix + "ffn_down.weight", spec.d_model, layer.d_ff);
    return weights;
}

}  // namespace

ModelWeights upload_weights(const gguf::File& file, const ModelSpec& spec, Backend& backend) {
    WeightBinder binder(file, backend);
    ModelWeights weights;
    weights.embedding = binder.matrix("token_embd.weight", spec.n_vocab, spec.d_model);
    weights.output_norm = binder.vector("output_norm.weight", spec.d_model);
    weights.output = binder.has("output.weight") ? binder.matrix("output.weight", spec.n_vocab, spec.d_model)
                                                 : weights.embedding;
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        weights.layers.push_back(bind_layer(binder, spec, i));
    weights.inv_freq = backend.upload({.format = Format::F32,
                                       .rows = 1,
                                       .cols = static_cast<std::int64_t>(spec.inv_freq.size()),
                                       .data = spec.inv_freq.data()});
    binder.mark_used("rope_freqs.weight");
    binder.refuse_unused();
    weights.bytes = binder.bytes();
    return weights;
}

}  // namespace llmcore
