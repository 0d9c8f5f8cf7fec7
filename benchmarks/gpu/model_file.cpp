#include "model_file.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "base/error.h"
#include "gguf/reader.h"
#include "quant/format_table.h"
#include "quant/quantize.h"

namespace llmcore::bench {

namespace {

constexpr std::int64_t kPoolElements = INT64_C(1) << 21;
constexpr std::size_t kAlignment = 32;

struct Tensor {
    std::string name;
    Format format;
    std::int64_t rows, cols;
    bool streamed = true;  // read for every token
    std::size_t bytes() const { return static_cast<std::size_t>(rows * row_bytes(format, cols)); }
};

// llama.cpp's mix: Q4_K_M gives more bits to the first and last eighths of the layers and every third
// between.
Format layer_format(const std::string& quant, std::int64_t layer, std::int64_t n_layers, bool sensitive) {
    if (quant == "Q8_0") return Format::Q8_0;
    if (quant == "Q4_0") return Format::Q4_0;
    const bool more = layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
    return sensitive && more ? Format::Q6_K : Format::Q4_K;
}

std::vector<Tensor> tensors_of(const ModelShape& shape, const std::string& quant) {
    if (quant != "Q4_0" && quant != "Q4_K_M" && quant != "Q8_0")
        fail(ErrorCode::invalid_argument, "model file", "quantization", quant, "Q4_0, Q4_K_M or Q8_0");
    const std::int64_t head_dim = shape.d_model / shape.n_heads;
    const std::int64_t kv = shape.n_kv_heads * head_dim;
    std::vector<Tensor> tensors = {
        {"token_embd.weight", layer_format(quant, 0, 1000, false), shape.n_vocab, shape.d_model, false}};
    tensors.push_back({"output_norm.weight", Format::F32, 1, shape.d_model});
    tensors.push_back(
        {"output.weight", quant == "Q8_0" ? Format::Q8_0 : Format::Q6_K, shape.n_vocab, shape.d_model});
    for (std::int64_t i = 0; i < shape.n_layers; ++i) {
        const std::string prefix = "blk." + std::to_string(i) + ".";
        const auto plain = layer_format(quant, i, shape.n_layers, false);
        const auto sensitive = layer_format(quant, i, shape.n_layers, true);
        tensors.push_back({prefix + "attn_norm.weight", Format::F32, 1, shape.d_model});
        tensors.push_back({prefix + "attn_q.weight", plain, shape.d_model, shape.d_model});
        tensors.push_back({prefix + "attn_k.weight", plain, kv, shape.d_model});
        tensors.push_back({prefix + "attn_v.weight", sensitive, kv, shape.d_model});
        tensors.push_back({prefix + "attn_output.weight", plain, shape.d_model, shape.d_model});
        tensors.push_back({prefix + "ffn_norm.weight", Format::F32, 1, shape.d_model});
        tensors.push_back({prefix + "ffn_gate.weight", plain, shape.d_ff, shape.d_model});
        tensors.push_back({prefix + "ffn_up.weight", plain, shape.d_ff, shape.d_model});
        tensors.push_back({prefix + "ffn_down.weight", sensitive, shape.d_model, shape.d_ff});
    }
    return tensors;
}

class Writer {
public:
    explicit Writer(const std::string& path) : file_(std::fopen(path.c_str(), "wb"), &std::fclose) {
        if (!file_) fail(ErrorCode::invalid_argument, "model file", "cannot write " + path);
    }
    template <class T>
    void put(T value) {
        bytes(&value, sizeof value);
    }
    void text(const std::string& value) {
        put(std::uint64_t{value.size()});
        bytes(value.data(), value.size());
    }
    void key(const std::string& name, gguf::ValueType type) {
        text(name);
        put(static_cast<std::uint32_t>(type));
    }
    void number(const std::string& name, std::int64_t value) {
        key(name, gguf::ValueType::u32);
        put(static_cast<std::uint32_t>(value));
    }
    void real(const std::string& name, float value) {
        key(name, gguf::ValueType::f32);
        put(value);
    }
    void string(const std::string& name, const std::string& value) {
        key(name, gguf::ValueType::string);
        text(value);
    }
    void array(const std::string& name, gguf::ValueType type, std::int64_t count) {
        key(name, gguf::ValueType::array);
        put(static_cast<std::uint32_t>(type));
        put(static_cast<std::uint64_t>(count));
    }
    void bytes(const void* data, std::size_t size) {
        if (std::fwrite(data, 1, size, file_.get()) != size)
            fail(ErrorCode::invalid_argument, "model file", "writing failed: is the disk full?");
        written_ += size;
    }
    void pad() {
        static constexpr char zeros[kAlignment] = {};
        bytes(zeros, (kAlignment - written_ % kAlignment) % kAlignment);
    }

private:
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
    std::size_t written_ = 0;
};

void write_vocabulary(Writer& out, std::int64_t n) {
    out.string("tokenizer.ggml.model", "llama");
    out.array("tokenizer.ggml.tokens", gguf::ValueType::string, n);
    char byte_token[16];
    for (std::int64_t i = 0; i < n; ++i) {
        if (i < 3) {
            const char* names[] = {"<unk>", "<s>", "</s>"};
            out.text(names[i]);
        } else if (i < 259) {
            std::snprintf(byte_token, sizeof byte_token, "<0x%02X>", static_cast<unsigned>(i - 3));
            out.text(byte_token);
        } else {
            out.text("t" + std::to_string(i));
        }
    }
    out.array("tokenizer.ggml.scores", gguf::ValueType::f32, n);
    for (std::int64_t i = 0; i < n; ++i) out.put(-static_cast<float>(i));
    out.array("tokenizer.ggml.token_type", gguf::ValueType::i32, n);
    for (std::int64_t i = 0; i < n; ++i) out.put(std::int32_t{i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1});
    out.number("tokenizer.ggml.bos_token_id", 1);
    out.number("tokenizer.ggml.eos_token_id", 2);
}

// Quantized normal values: weights of a row of `cols` keep the size of what they multiply.
std::vector<std::uint8_t> make_pool(Format format, std::mt19937_64& random) {
    std::normal_distribution<float> normal(0.0F, 1.0F / 64.0F);
    std::vector<float> values(static_cast<std::size_t>(kPoolElements));
    for (float& value : values) value = normal(random);
    std::vector<std::uint8_t> pool(static_cast<std::size_t>(row_bytes(format, kPoolElements)));
    quantize(format, values.data(), pool.data(), kPoolElements);
    return pool;
}

}  // namespace

ModelShape find_shape(const std::string& name) {
    if (name == "8b") return {"8b", 32, 4096, 14336, 32, 8, 128256};
    if (name == "14b") return {"14b", 48, 5120, 13824, 40, 8, 152064};
    fail(ErrorCode::invalid_argument, "model file", "shape", name, "8b or 14b");
}

std::int64_t streamed_bytes(const ModelShape& shape, const std::string& quant) {
    std::int64_t total = 0;
    for (const Tensor& tensor : tensors_of(shape, quant))
        if (tensor.streamed) total += static_cast<std::int64_t>(tensor.bytes());
    return total;
}

std::int64_t write_model(const std::string& path, const ModelShape& shape, const std::string& quant) {
    const std::vector<Tensor> tensors = tensors_of(shape, quant);
    Writer out(path);
    out.bytes("GGUF", 4);
    out.put(std::uint32_t{3});
    out.put(std::uint64_t{tensors.size()});
    out.put(std::uint64_t{17});  // keys
    out.string("general.architecture", "llama");
    out.string("general.name", "random " + shape.name + " " + quant);
    out.number("general.file_type", quant == "Q8_0" ? 7 : quant == "Q4_0" ? 2 : 15);
    out.number("general.quantization_version", 2);
    out.number("llama.context_length", 32768);
    out.number("llama.embedding_length", shape.d_model);
    out.number("llama.block_count", shape.n_layers);
    out.number("llama.feed_forward_length", shape.d_ff);
    out.number("llama.attention.head_count", shape.n_heads);
    out.number("llama.attention.head_count_kv", shape.n_kv_heads);
    out.real("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    write_vocabulary(out, shape.n_vocab);
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors) {
        out.text(tensor.name);
        const bool vector = tensor.rows == 1;
        out.put(std::uint32_t{vector ? 1U : 2U});
        out.put(static_cast<std::uint64_t>(tensor.cols));
        if (!vector) out.put(static_cast<std::uint64_t>(tensor.rows));
        out.put(static_cast<std::uint32_t>(tensor.format));
        out.put(offset);
        offset += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
    }
    out.pad();
    std::mt19937_64 random(1);
    std::map<Format, std::vector<std::uint8_t>> pools;
    for (const Tensor& tensor : tensors) {
        if (tensor.format == Format::F32) {
            for (std::int64_t i = 0; i < tensor.cols; ++i) out.put(1.0F);
        } else {
            std::vector<std::uint8_t>& pool = pools[tensor.format];
            if (pool.empty()) pool = make_pool(tensor.format, random);
            const auto block = static_cast<std::size_t>(format_info(tensor.format).block_bytes);
            for (std::size_t left = tensor.bytes(); left > 0;) {
                const std::size_t start = random() % (pool.size() / block / 2) * block;
                const std::size_t size = std::min(left, pool.size() / block / 2 * block);
                out.bytes(pool.data() + start, size);
                left -= size;
            }
        }
        out.pad();
    }
    return streamed_bytes(shape, quant);
}

}  // namespace llmcore::bench
