#include "model/weights.h"

#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "gguf/printable.h"
#include "model/rope.h"
#include "quant/format_table.h"
#include "quant/quantize.h"

namespace llmcore {

namespace {

constexpr std::string_view kComponent = "model";
constexpr const char* kHead = "output.weight";  // without it the embedding is the head too

// Dimensions as people write them: the row's length first.
std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t size : shape) text.append(text.empty() ? "" : " x ").append(std::to_string(size));
    return text;
}

class WeightBinder {
public:
    WeightBinder(const gguf::File& file, const TensorFormats& formats, Backend& backend,
                 const UploadWatch& watch)
        : file_(file), formats_(formats), backend_(backend), watch_(watch) {
        for (const auto& [name, format] : formats) {
            const gguf::TensorInfo* tensor = file.find_tensor(name);
            if (tensor == nullptr)
                fail(ErrorCode::model, kComponent, "no tensor to convert: " + gguf::printable(name));
            if (format != tensor->format && !can_quantize(format))
                fail(ErrorCode::model, kComponent,
                     "tensor " + name + " cannot be converted to " + format_info(format).name);
        }
    }

    // Of what is bound from now on.
    void set_readers(const LayerSpan& readers) { readers_ = readers; }

    bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }
    void mark_used(const std::string& name) { bound_.insert(name); }
    std::int64_t bytes() const { return bytes_; }

    // A tensor of exactly this shape, the row's length first; dimensions of 1 at the end may be missing.
    const gguf::TensorInfo& tensor(const std::string& name, std::vector<std::int64_t> shape) {
        const gguf::TensorInfo* found = file_.find_tensor(name);
        if (found == nullptr) fail(ErrorCode::model, kComponent, "missing tensor " + name);
        const auto trimmed = [](std::vector<std::int64_t> dims) {
            while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
            return dims;
        };
        if (trimmed(found->shape) != trimmed(shape))
            fail(ErrorCode::model, kComponent, "shape of tensor " + name, shape_text(found->shape),
                 shape_text(shape));
        if (!format_info(found->format).can_dequantize)
            fail(ErrorCode::model, kComponent,
                 "tensor " + name + " has the unsupported format " + format_info(found->format).name);
        bound_.insert(name);
        return *found;
    }

    // `count` rows of a tensor, from row `first` on.
    Weight slice(const gguf::TensorInfo& tensor, std::int64_t first, std::int64_t count) {
        if (watch_) watch_();
        const std::int64_t offset = first * row_bytes(tensor.format, tensor.cols());
        WeightView view{.format = tensor.format,
                        .stored = tensor.format,
                        .rows = count,
                        .cols = tensor.cols(),
                        .data = tensor.data + offset,
                        .file = file_.reader(tensor.part),
                        .file_offset = static_cast<std::int64_t>(tensor.file_offset) + offset,
                        .readers = readers_};
        if (const auto wanted = formats_.find(tensor.name); wanted != formats_.end()) {
            if (tensor.cols() % format_info(wanted->second).block_elements != 0)
                fail(
                    ErrorCode::model, kComponent,
                    "rows of tensor " + std::string(tensor.name) + " for " + format_info(wanted->second).name,
                    std::to_string(tensor.cols()), "whole blocks");
            view.stored = wanted->second;
        }
        bytes_ += count * row_bytes(view.stored, view.cols);
        try {
            const Weight weight = backend_.upload(view);
            note_matrix(tensor, {weight, first, count});
            return weight;
        } catch (const Error& error) {
            fail(error.code(), kComponent, "tensor " + std::string(tensor.name) + ": " + error.what());
        }
    }

    Weight matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
        return slice(tensor(name, {cols, rows}), 0, rows);
    }

    // One matrix an expert, below one another.
    Weight matrices(const std::string& name, std::int64_t count, std::int64_t rows, std::int64_t cols) {
        return slice(tensor(name, {cols, rows, count}), 0, count * rows);
    }

    Weight vector(const std::string& name, std::int64_t size) { return vector_part(name, size, 0, size); }

    // A vector whose elements are multiplied by `scale`.
    Weight scaled_vector(const std::string& name, std::int64_t size, float scale) {
        if (scale == 1.0F) return vector(name, size);
        const gguf::TensorInfo& found = float_vector(name, size);
        std::vector<float> values(static_cast<std::size_t>(size));
        std::memcpy(values.data(), found.data, values.size() * sizeof(float));
        for (float& value : values) value *= scale;
        return upload_floats(reinterpret_cast<const std::byte*>(values.data()), size);
    }

    // Elements [first, first + count) of a vector of `size`.
    Weight vector_part(const std::string& name, std::int64_t size, std::int64_t first, std::int64_t count) {
        const gguf::TensorInfo& found = float_vector(name, size);
        return upload_floats(found.data + first * static_cast<std::int64_t>(sizeof(float)), count);
    }

    Weight optional_vector(const std::string& name, std::int64_t size, bool required = false) {
        return required || has(name) ? vector(name, size) : Weight();
    }

    Norm norm(const std::string& name, const ModelSpec& spec) {
        return {.weight = vector(name + ".weight", spec.d_model),
                .bias = optional_vector(name + ".bias", spec.d_model, spec.norm_style == NormStyle::layer)};
    }

    // The first row of a table of however many; empty if the file has none.
    Weight first_row(const std::string& name, std::int64_t cols) {
        const gguf::TensorInfo* found = file_.find_tensor(name);
        if (found == nullptr) return {};
        return slice(tensor(name, {cols, found->rows()}), 0, 1);
    }

    // One vector an expert.
    Weight optional_vectors(const std::string& name, std::int64_t count, std::int64_t size) {
        if (!has(name)) return {};
        const gguf::TensorInfo& found = tensor(name, {size, count});
        if (found.format != Format::F32)
            fail(ErrorCode::model, kComponent, "format of tensor " + name, format_info(found.format).name,
                 "F32");
        return slice(found, 0, count);
    }

    std::map<std::string, PlacedMatrix, std::less<>> take_matrices() { return std::move(matrices_); }

    // A tensor nobody reads would be a model half understood.
    void refuse_unused() const {
        for (const gguf::TensorInfo& tensor : file_.tensors())
            if (!bound_.contains(std::string(tensor.name)))
                fail(ErrorCode::model, kComponent,
                     "unsupported tensor " + gguf::printable(tensor.name) +
                         ": no part of this architecture as supported");
    }

private:
    const gguf::TensorInfo& float_vector(const std::string& name, std::int64_t size) {
        const gguf::TensorInfo& found = tensor(name, {size});
        if (found.format != Format::F32)
            fail(ErrorCode::model, kComponent, "format of tensor " + name, format_info(found.format).name,
                 "F32");
        return found;
    }

    // Backends copy vectors.
    Weight upload_floats(const std::byte* data, std::int64_t count) {
        bytes_ += count * static_cast<std::int64_t>(sizeof(float));
        return backend_.upload({.format = Format::F32,
                                .stored = Format::F32,
                                .rows = 1,
                                .cols = count,
                                .data = data,
                                .readers = readers_});
    }

    void note_matrix(const gguf::TensorInfo& tensor, const PlacedMatrix::Part& part) {
        if (tensor.shape.size() != 2 || !tensor.name.ends_with(".weight")) return;
        PlacedMatrix& matrix = matrices_[std::string(tensor.name)];
        matrix.rows = tensor.rows();
        matrix.cols = tensor.cols();
        matrix.parts.push_back(part);
    }

    const gguf::File& file_;
    const TensorFormats& formats_;
    Backend& backend_;
    const UploadWatch& watch_;
    std::set<std::string> bound_;
    std::map<std::string, PlacedMatrix, std::less<>> matrices_;
    std::int64_t bytes_ = 0;
    LayerSpan readers_;
};

// Queries, keys and values: three matrices, or one above the other in one.
void bind_qkv(WeightBinder& binder, const std::string& prefix, const ModelSpec& spec, const LayerSpec& layer,
              LayerWeights& weights) {
    const std::int64_t q_size = layer.n_heads * spec.head_dim;
    const std::int64_t kv_size = layer.n_kv_heads * spec.head_dim;
    if (const std::string fused = prefix + "attn_qkv.weight"; binder.has(fused)) {
        const std::int64_t rows = q_size + 2 * kv_size;
        const gguf::TensorInfo& tensor = binder.tensor(fused, {spec.d_model, rows});
        weights.q = binder.slice(tensor, 0, q_size);
        weights.k = binder.slice(tensor, q_size, kv_size);
        weights.v = binder.slice(tensor, q_size + kv_size, kv_size);
        if (const std::string bias = prefix + "attn_qkv.bias"; spec.has_biases || binder.has(bias)) {
            weights.q_bias = binder.vector_part(bias, rows, 0, q_size);
            weights.k_bias = binder.vector_part(bias, rows, q_size, kv_size);
            weights.v_bias = binder.vector_part(bias, rows, q_size + kv_size, kv_size);
        }
        return;
    }
    weights.q = binder.matrix(prefix + "attn_q.weight", q_size, spec.d_model);
    weights.k = binder.matrix(prefix + "attn_k.weight", kv_size, spec.d_model);
    weights.v = binder.matrix(prefix + "attn_v.weight", kv_size, spec.d_model);
    weights.q_bias = binder.optional_vector(prefix + "attn_q.bias", q_size, spec.has_biases);
    weights.k_bias = binder.optional_vector(prefix + "attn_k.bias", kv_size, spec.has_biases);
    weights.v_bias = binder.optional_vector(prefix + "attn_v.bias", kv_size, spec.has_biases);
}

void bind_attention(WeightBinder& binder, const std::string& prefix, const ModelSpec& spec,
                    const LayerSpec& layer, LayerWeights& weights) {
    bind_qkv(binder, prefix, spec, layer, weights);
    const std::int64_t q_heads = spec.norms_all_heads ? layer.n_heads : 1;
    const std::int64_t k_heads = spec.norms_all_heads ? layer.n_kv_heads : 1;
    weights.q_norm =
        binder.optional_vector(prefix + "attn_q_norm.weight", q_heads * spec.head_dim, spec.has_head_norms);
    weights.k_norm =
        binder.optional_vector(prefix + "attn_k_norm.weight", k_heads * spec.head_dim, spec.has_head_norms);
    weights.sinks = binder.optional_vector(prefix + "attn_sinks.weight", layer.n_heads, spec.has_sinks);
    weights.attn_out =
        binder.matrix(prefix + "attn_output.weight", spec.d_model, layer.n_heads * spec.head_dim);
    weights.attn_out_bias =
        binder.optional_vector(prefix + "attn_output.bias", spec.d_model, spec.has_biases);
}

void bind_dense(WeightBinder& binder, const std::string& prefix, const ModelSpec& spec, std::int64_t d_ff,
                LayerWeights& weights) {
    if (!spec.is_gated) {
        weights.ffn_gate = binder.matrix(prefix + "ffn_up.weight", d_ff, spec.d_model);
        weights.ffn_gate_bias = binder.optional_vector(prefix + "ffn_up.bias", d_ff, spec.has_biases);
    } else if (binder.has(prefix + "ffn_gate.weight")) {
        weights.ffn_gate = binder.matrix(prefix + "ffn_gate.weight", d_ff, spec.d_model);
        weights.ffn_up = binder.matrix(prefix + "ffn_up.weight", d_ff, spec.d_model);
        weights.ffn_gate_bias = binder.optional_vector(prefix + "ffn_gate.bias", d_ff);
        weights.ffn_up_bias = binder.optional_vector(prefix + "ffn_up.bias", d_ff);
    } else {
        const gguf::TensorInfo& fused = binder.tensor(prefix + "ffn_up.weight", {spec.d_model, 2 * d_ff});
        weights.ffn_gate = binder.slice(fused, 0, d_ff);
        weights.ffn_up = binder.slice(fused, d_ff, d_ff);
    }
    weights.ffn_down = binder.matrix(prefix + "ffn_down.weight", spec.d_model, d_ff);
    weights.ffn_down_bias = binder.optional_vector(prefix + "ffn_down.bias", spec.d_model, spec.has_biases);
}

ExpertWeights bind_experts(WeightBinder& binder, const std::string& prefix, const ModelSpec& spec,
                           std::int64_t dense_d_ff) {
    const std::int64_t n = spec.experts.n;
    const std::int64_t d_ff = spec.experts.d_ff > 0 ? spec.experts.d_ff : dense_d_ff;
    ExpertWeights weights;
    weights.router = binder.matrix(prefix + "ffn_gate_inp.weight", n, spec.d_model);
    weights.router_bias = binder.optional_vector(prefix + "ffn_gate_inp.bias", n);
    weights.gate = binder.matrices(prefix + "ffn_gate_exps.weight", n, d_ff, spec.d_model);
    weights.up = binder.matrices(prefix + "ffn_up_exps.weight", n, d_ff, spec.d_model);
    weights.down = binder.matrices(prefix + "ffn_down_exps.weight", n, spec.d_model, d_ff);
    weights.gate_bias = binder.optional_vectors(prefix + "ffn_gate_exps.bias", n, d_ff);
    weights.up_bias = binder.optional_vectors(prefix + "ffn_up_exps.bias", n, d_ff);
    weights.down_bias = binder.optional_vectors(prefix + "ffn_down_exps.bias", n, spec.d_model);
    if (const std::int64_t shared = spec.experts.d_ff_shared; shared > 0) {
        if (binder.has(prefix + "ffn_gate_inp_shexp.weight"))
            weights.shared_router = binder.vector(prefix + "ffn_gate_inp_shexp.weight", spec.d_model);
        weights.shared_gate = binder.matrix(prefix + "ffn_gate_shexp.weight", shared, spec.d_model);
        weights.shared_up = binder.matrix(prefix + "ffn_up_shexp.weight", shared, spec.d_model);
        weights.shared_down = binder.matrix(prefix + "ffn_down_shexp.weight", spec.d_model, shared);
    }
    return weights;
}

void bind_norms(WeightBinder& binder, const std::string& prefix, const ModelSpec& spec,
                LayerWeights& weights) {
    if (spec.norms_sums) {
        weights.attn_sum_norm = binder.norm(prefix + "attn_output_norm", spec);
        weights.ffn_sum_norm = binder.norm(prefix + "layer_output_norm", spec);
        return;
    }
    if (spec.norms_outputs) {
        weights.post_attn_norm = binder.vector(prefix + "post_attention_norm.weight", spec.d_model);
        weights.post_ffn_norm = binder.vector(prefix + "post_ffw_norm.weight", spec.d_model);
        return;
    }
    weights.attn_norm = binder.vector(prefix + "attn_norm.weight", spec.d_model);
    const std::string after_attention = prefix + "post_attention_norm.weight";
    // Where there is no other norm before the feed-forward network, the one after attention is it.
    if (spec.has_post_norms || binder.has(prefix + "ffn_norm.weight")) {
        weights.ffn_norm = binder.vector(prefix + "ffn_norm.weight", spec.d_model);
        weights.post_attn_norm = binder.optional_vector(after_attention, spec.d_model, spec.has_post_norms);
    } else {
        weights.ffn_norm = binder.vector(
            binder.has(after_attention) ? after_attention : prefix + "ffn_norm.weight", spec.d_model);
    }
    weights.post_ffn_norm =
        binder.optional_vector(prefix + "post_ffw_norm.weight", spec.d_model, spec.has_post_norms);
}

LayerWeights bind_layer(WeightBinder& binder, const ModelSpec& spec, std::size_t index) {
    const LayerSpec& layer = spec.layers[index];
    const std::string prefix = "blk." + std::to_string(index) + ".";
    binder.set_readers({.first = static_cast<std::int64_t>(index), .last = static_cast<std::int64_t>(index)});
    LayerWeights weights;
    bind_norms(binder, prefix, spec, weights);
    bind_attention(binder, prefix, spec, layer, weights);
    if (spec.experts.n > 0 && !binder.has(prefix + "ffn_down.weight"))
        weights.experts = bind_experts(binder, prefix, spec, layer.d_ff);
    else
        bind_dense(binder, prefix, spec, layer.d_ff, weights);
    return weights;
}

void bind_embedding(WeightBinder& binder, const ModelSpec& spec, ModelWeights& weights) {
    const bool is_head = spec.has_head && !binder.has(kHead);
    binder.set_readers(
        {.first = LayerSpan::kEmbedding, .last = is_head ? LayerSpan::kHead : LayerSpan::kEmbedding});
    weights.embedding = binder.matrix("token_embd.weight", spec.n_vocab, spec.d_model);
    binder.set_readers({.first = LayerSpan::kEmbedding, .last = LayerSpan::kEmbedding});
    if (spec.has_positions)
        weights.positions = binder.matrix("position_embd.weight", spec.n_ctx_train, spec.d_model);
    if (spec.norms_sums) {
        weights.types = binder.first_row("token_types.weight", spec.d_model);
        weights.embedding_norm = binder.norm("token_embd_norm", spec);
    }
}

void bind_head(WeightBinder& binder, const ModelSpec& spec, ModelWeights& weights) {
    binder.set_readers({.first = LayerSpan::kHead, .last = LayerSpan::kHead});
    weights.output_norm = binder.scaled_vector("output_norm.weight", spec.d_model, spec.output_norm_scale);
    weights.output = binder.has(kHead) ? binder.matrix(kHead, spec.n_vocab, spec.d_model) : weights.embedding;
    weights.output_bias = binder.optional_vector("output.bias", spec.n_vocab);
}

Weight upload_frequencies(const RopeSpec& rope, Backend& backend) {
    if (rope.inv_freq.empty()) return {};
    return backend.upload({.format = Format::F32,
                           .stored = Format::F32,
                           .rows = 1,
                           .cols = static_cast<std::int64_t>(rope.inv_freq.size()),
                           .data = rope.inv_freq.data()});
}

}  // namespace

ModelWeights upload_weights(const gguf::File& file, const ModelSpec& spec, const TensorFormats& formats,
                            Backend& backend, const UploadWatch& watch) {
    WeightBinder binder(file, formats, backend, watch);
    ModelWeights weights;
    bind_embedding(binder, spec, weights);
    if (spec.has_head) bind_head(binder, spec, weights);
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        weights.layers.push_back(bind_layer(binder, spec, i));
    weights.inv_freq = upload_frequencies(spec.rope, backend);
    weights.window_inv_freq =
        spec.window_rope.inv_freq.empty() ? weights.inv_freq : upload_frequencies(spec.window_rope, backend);
    for (const char* name : {kRopeFactors, kRopeFactorsLong, kRopeFactorsShort}) binder.mark_used(name);
    binder.refuse_unused();
    weights.bytes = binder.bytes();
    weights.matrices = binder.take_matrices();
    return weights;
}

}  // namespace llmcore
