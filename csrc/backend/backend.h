// The contract a device fulfils. Eager: each call does its work; a backend may capture begin .. end as a
// graph. No device types here: weights and activation buffers are handles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/batch.h"
#include "kernels/kernel_choice.h"
#include "quant/formats.h"

namespace llmcore {

class FileReader;
class ThreadPool;

// Rows of float32 on the device. `id` is an index the backend gave out.
struct Buffer {
    std::int32_t id = -1;
    explicit operator bool() const { return id >= 0; }
};

// An uploaded matrix or vector. `id` is an index the backend gave out.
struct Weight {
    std::int32_t id = -1;
    explicit operator bool() const { return id >= 0; }
};

// Which layers read a weight, counted from 0. What comes before the first and after the last has numbers too.
struct LayerSpan {
    static constexpr std::int64_t kEmbedding = -1;
    static constexpr std::int64_t kHead = std::int64_t{1} << 32;  // behind any number of layers
    std::int64_t first = kEmbedding;
    std::int64_t last = kHead;
};

// A matrix (or a vector: rows == 1) of the file, checked by the reader: rows * row_bytes bytes at data.
// A slice of rows is a view too: that is how fused tensors are taken apart.
struct WeightView {
    Format format = Format::none;
    Format stored = Format::none;  // what it becomes on the device; other than `format`: converted
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    const void* data = nullptr;
    // Where the same bytes begin in a file; null: in none.
    const FileReader* file = nullptr;
    std::int64_t file_offset = 0;
    LayerSpan readers = {};  // a backend of two devices has it where these are
};

struct BackendInfo {
    std::string name = {};
    std::int64_t kv_block_tokens = 0;
    int threads = 0;
    std::int64_t memory_bytes = 0;     // free on a device with memory of its own; 0: it uses the host's
    std::int64_t step_tokens = 0;      // rows of a step that suit it; 0: as the size of the model allows
    std::int64_t step_operations = 0;  // then: multiplications and additions of a step that suit it
    bool runs_encoders = true;         // LayerNorm, positions that are added, attention that is not causal
};

// How the cache of every layer is laid out. `format` is one of those that the backend caches().
struct KvSpec {
    Format format = Format::F16;
    std::int64_t n_layers = 0;
    std::int64_t n_kv_heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t n_blocks = 0;
};

struct EmbedOp {
    Weight table;
    Buffer out;  // one row a token of the batch
    float scale = 1.0F;
    Weight positions = {};  // optional: the row of the token's position is added
    Weight types = {};      // optional: its first row is added
};

enum class NormStyle : std::uint8_t {
    rms,
    layer,  // with a bias, which is added, and without a residual
};

// out = norm(in) * weight + residual
struct NormOp {
    Buffer in;
    Weight weight;
    Buffer out;
    float eps = 0.0F;
    Buffer residual = {};  // optional; may be `out`
    NormStyle style = NormStyle::rms;
    Weight bias = {};  // optional, F32
};

// out = gate(activation(in W^T + bias) * (in U^T + up_bias)) + residual; without `up`, activation and gate a
// plain linear layer.
struct LinearOp {
    Buffer in;
    Weight weight;
    Buffer out;
    Weight bias = {};      // optional, F32
    Weight up = {};        // optional: the second matrix of a gated unit
    Weight up_bias = {};   // optional, F32
    Buffer residual = {};  // optional; may be `out`
    Buffer gate = {};      // optional, one column: its sigmoid multiplies the row
    Activation activation = Activation::none;
    float softcap = 0.0F;  // above 0: values become softcap * tanh(value / softcap)
};

// A mixture of experts: every row goes to the n_used experts of its largest router logits, and out is the
// sum of theirs, weighed by the softmax of the logits, plus residual. An expert is a gated unit:
// (activation(in G^T + gate_bias) * (in U^T + up_bias)) D^T + down_bias. Matrices of the experts lie below
// one another in one weight.
struct MoeOp {
    Buffer in;
    Buffer router;  // logits: one column an expert
    Weight gate, up, down;
    Weight gate_bias, up_bias, down_bias;  // optional, F32: one row an expert
    Buffer gated;                          // room for n_used rows a row of `in`
    Buffer down_rows;                      // likewise, as wide as `out`
    Buffer residual;                       // may be `out`
    Buffer out;
    std::int64_t n_used = 0;
    bool normalized = false;  // the weights of a row's experts are made to sum to 1
    float scale = 1.0F;       // then multiplied by this
    Activation activation = Activation::none;
};

// Rotates q and k in place, then writes k and v into the cache of `layer`.
struct RopeStoreOp {
    Buffer q, k, v;
    std::int64_t layer = 0;
    std::int64_t n_heads = 0;
    RopeStyle style = RopeStyle::none;
    std::int64_t rope_dims = 0;
    Weight inv_freq;  // F32, rope_dims / 2
    float magnitude = 1.0F;
    Weight q_norm, k_norm;  // optional per-head RMSNorm, applied before the rotation
    float norm_eps = 0.0F;
};

struct AttentionOp {
    Buffer q;
    Buffer out;
    std::int64_t layer = 0;
    std::int64_t n_heads = 0;
    float scale = 1.0F;
    float softcap = 0.0F;
    std::int64_t window = 0;
    Weight sinks;  // optional, F32, one a head
    bool causal = true;
};

// Which kernel an operation of a model gets, for steps of some numbers of rows.
struct KernelUse {
    KernelChoice choice;
    Shape shape;                  // linear: n, k; pack: k; norm, glu: n; the others: head_dim and heads
    std::int64_t first_rows = 1;  // of the step, or of those that go to one expert
    std::int64_t last_rows = 0;   // 0: any number
    bool ran = false;             // otherwise no step of so many rows has come yet
};

// A low-rank change of a matrix (LoRA, Hu et al. 2021): for the rows that have it, in W^T becomes
// in W^T + scale * (in A^T) B^T.
struct LowRankChange {
    Weight weight;  // W
    WeightView a;   // [rank][columns of W]; F32, F16 or BF16
    WeightView b;   // [rows of W][rank]; likewise
    float scale = 1.0F;
};

// Changes of a model's weights, for the sequences that Batch says have them. Immutable; threads may share it,
// and it may outlive its backend.
class Adapter {
public:
    virtual ~Adapter() = default;
    virtual std::int64_t bytes() const = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual BackendInfo info() const = 0;

    // Room for `rows` rows of `cols` floats. Throws Error(model) if there is no memory.
    virtual Buffer alloc(std::int64_t rows, std::int64_t cols) = 0;

    // Copies (and packs) a weight. The view's bytes are not used after the call.
    virtual Weight upload(const WeightView& view) = 0;

    // What upload takes of the device's memory for it.
    virtual std::int64_t weight_bytes(const WeightView& view) const = 0;

    // Whether keys and values can be kept in that format, with heads of that size.
    virtual bool caches(Format format, std::int64_t /*head_dim*/) const {
        return format == Format::F32 || format == Format::F16;
    }

    virtual void alloc_kv(const KvSpec& spec) = 0;

    // Copies changes of matrices this backend has, at most one of each; views as in upload. From any thread,
    // beside steps. Throws Error(model) if there is no memory, or where the device knows no adapters.
    virtual std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange> changes) const = 0;

    // Between steps, blocks of the cache may be copied out, in and to each other: of so many bytes, every
    // layer's keys and values of one block. 0: they cannot, and the three functions are not called.
    virtual std::int64_t kv_block_bytes() const { return 0; }
    virtual void read_kv_block(std::int32_t /*block*/, std::byte* /*to*/) {}
    virtual void write_kv_block(std::int32_t /*block*/, const std::byte* /*from*/) {}
    virtual void copy_kv_block(std::int32_t /*from*/, std::int32_t /*to*/) {}

    // Threads of the host that are idle between steps; null: there are none.
    virtual ThreadPool* threads() { return nullptr; }

    // A step: begin, any of the operations, end. The batch stays valid until end.
    virtual void begin(const Batch& batch) = 0;
    // Before the operations that read them: a row for each token of the batch, from the host's memory.
    virtual void write_rows(Buffer to, std::span<const float> values) = 0;
    virtual void embed(const EmbedOp& op) = 0;
    virtual void norm(const NormOp& op) = 0;
    // Independent layers, run as one parallel region; those that share an input share its packed form.
    virtual void linear(std::span<const LinearOp> ops) = 0;
    virtual void moe(const MoeOp& op) = 0;
    virtual void rope_store(const RopeStoreOp& op) = 0;
    virtual void attention(const AttentionOp& op) = 0;
    // Copies the batch's logit_rows of `in` to the first rows of `out`; later operations on `out` cover just
    // those.
    virtual void gather_logit_rows(Buffer in, Buffer out) = 0;
    // Rows of `result` in host memory, as many as were written, [rows][cols]; valid until the next begin.
    virtual std::span<const float> end(Buffer result) = 0;

    // The operations that have run so far. From any thread. Empty where kernels are not chosen.
    virtual std::vector<KernelUse> kernel_uses() const { return {}; }
};

}  // namespace llmcore
