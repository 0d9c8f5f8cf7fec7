// The CUDA backend: operations are noted as they come and run together at the end of the step, so that what
// follows a norm can take it over, and a step seen before is one launch of a graph.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <variant>
#include <vector>

#include "backend/device_abi.h"
#include "cuda/device.h"
#include "cuda/kernels/experts.h"
#include "cuda/kernels/matmul.h"
#include "cuda/program_recorder.h"
#include "cuda/step.h"

namespace llmcore::cuda {

// Memory of the device that is given back with its owner.
class DeviceMemory {
public:
    DeviceMemory() = default;
    explicit DeviceMemory(std::size_t bytes)
        : data_(bytes == 0 ? nullptr : device_alloc(bytes)), bytes_(bytes) {}
    ~DeviceMemory() { device_free(data_); }
    DeviceMemory(DeviceMemory&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
        other.data_ = nullptr;
        other.bytes_ = 0;
    }
    DeviceMemory& operator=(DeviceMemory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }
    std::size_t bytes() const { return bytes_; }

private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// Independent linear operations that came in one call.
struct LinearGroup {
    std::vector<LinearOp> ops;
};
struct GatherOp {
    Buffer in, out;
};
using Operation = std::variant<EmbedOp, NormOp, LinearGroup, MoeOp, RopeStoreOp, AttentionOp, GatherOp>;

class CudaBackend {
public:
    explicit CudaBackend(int device);
    ~CudaBackend();
    CudaBackend(const CudaBackend&) = delete;
    CudaBackend& operator=(const CudaBackend&) = delete;

    void info(AbiInfo& info) const;
    Buffer alloc(std::int64_t rows, std::int64_t cols);
    Weight upload(const WeightView& view);
    static bool caches(Format format, std::int64_t head_dim);
    std::int64_t weight_bytes(const WeightView& view) const;
    void alloc_kv(const KvSpec& spec);
    // Between steps. Of every layer's part of one block.
    std::int64_t kv_block_bytes() const;
    void read_kv_block(std::int32_t block, std::byte* to);
    void write_kv_block(std::int32_t block, const std::byte* from);
    void copy_kv_block(std::int32_t from, std::int32_t to);
    void begin(const AbiBatch& batch);
    // At once, and so before all that is noted.
    void write_rows(Buffer to, const float* values, std::int64_t count);
    void note(Operation operation);
    // Runs what was noted. The values are in host memory until the next begin.
    std::span<const float> end(Buffer result);

private:
    struct BufferState {
        DeviceMemory memory;
        std::int64_t rows = 0;
        std::int64_t cols = 0;
        std::int64_t live_rows = 0;
        DeviceMemory q8, bf16;  // packed forms, made when first needed
        bool q8_valid = false, bf16_valid = false;
        // Set while the rows stand for the norm of another buffer's rows, which their readers compute.
        Buffer normed_from = {};
        Weight norm_weight = {};
        float norm_eps = 0.0F;

        float* data() const { return memory.as<float>(); }
    };
    struct WeightState {
        DeviceMemory memory;
        Packing packing = Packing::f32;
        std::int64_t rows = 0;
        std::int64_t cols = 0;

        const unsigned char* data() const { return memory.as<unsigned char>(); }
        const float* floats() const { return memory.as<float>(); }
    };
    // Where the parts of a step lie in its one upload, in int32; the same for all steps of a key.
    struct StepLayout {
        std::size_t arrived, tokens, positions, row_sequences, kv_lens, block_table, logit_rows, decode_rows,
            tiles, size;
    };
    // What the launches of a step depend on, besides memory: steps that agree in it are the same graph.
    struct StepKey {
        std::uint64_t operations = 0;  // a fingerprint
        std::int32_t n_rows = 0, n_sequences = 0, n_logit_rows = 0, table_stride = 0, n_splits = 0,
                     n_decode_rows = 0, n_tiles = 0, result = -1;
        bool operator==(const StepKey&) const = default;
    };
    struct StepKeyHash {
        std::size_t operator()(const StepKey& key) const;
    };
    struct Graph {
        void* executable = nullptr;  // cudaGraphExec_t; null after the first, ungraphed run
    };

    // A step's launches but the first, as one kernel.
    struct StepProgram {
        std::optional<EmbedOp> embed;
        DeviceMemory phases;
        std::optional<ProgramArgs> args;  // none: the step is not one for a program
    };

    BufferState& buffer(Buffer handle) { return buffers_[static_cast<std::size_t>(handle.id)]; }
    WeightState& weight(Weight handle) { return weights_[static_cast<std::size_t>(handle.id)]; }
    const float* floats_of(Weight handle) { return handle ? weight(handle).floats() : nullptr; }
    const float* data_of(Buffer handle) { return handle ? buffer(handle).data() : nullptr; }
    void written(BufferState& state, std::int64_t rows);

    void convert_and_pack(const WeightView& view, WeightState& state);
    void upload_step(const AbiBatch& batch);
    void write_step(const AbiBatch& batch, std::int32_t* parts) const;
    StepLayout step_layout() const;
    void run_operations();
    void run_or_replay(BufferState& result);
    void note_result(BufferState& result);
    const StepProgram* program_of_step();
    StepProgram record_program();
    void run_program_of(const StepProgram& program);
    void forget_graphs();
    void* grown(DeviceMemory& memory, std::size_t bytes);

    void run(const EmbedOp& op);
    void run(const NormOp& op, std::size_t index);
    void run(const LinearGroup& group, std::size_t index);
    void run_unlike_pair(const LinearOp& op);
    void run(const MoeOp& op);
    void run(const RopeStoreOp& op);
    void run(const AttentionOp& op);
    void run(const GatherOp& op);
    bool readers_take_norm(const NormOp& op, std::size_t index);
    bool takes_norm(const LinearOp& op);
    bool takes_packed(const LinearOp& op, std::int64_t rows);
    bool writes_packed(const LinearOp& op, std::size_t index);
    void make_norm(BufferState& state);
    MatmulJob job_of(const LinearOp& op);
    PackInput input_of(const BufferState& in);
    void normalize(const NormRowsArgs& args);
    void multiply(BufferState& in, Packing packing, MatmulArgs args);
    const std::uint16_t* bf16_form(BufferState& in);
    KvLayer kv_layer(std::int64_t layer) const;
    std::size_t kv_layer_block_bytes() const;
    std::byte* kv_block(std::size_t layer, std::int32_t block) const;
    void plan_routing(const MoeOp& op);
    void run_expert_product(const MoeOp& op, const MatmulJob& job, Weight matrices, const float* input,
                            std::int64_t input_cols, const std::int32_t* source_rows);

    int device_;
    DeviceLimits limits_;
    Stream stream_;
    std::vector<BufferState> buffers_;
    std::vector<WeightState> weights_;
    KvSpec kv_spec_;
    std::vector<DeviceMemory> kv_layers_;
    void* kv_host_ = nullptr;  // page-locked: a block on its way
    DeviceMemory raw_rows_;    // of the tensor being uploaded

    std::vector<Operation> operations_;
    StepKey key_;
    StepLayout layout_ = {};
    StepView step_ = {};
    const std::int32_t* decode_rows_ = nullptr;
    std::uint32_t* arrived_ = nullptr;  // where a program's blocks meet; 0 as the step begins
    const void* tiles_ = nullptr;
    DeviceMemory step_memory_;
    void* step_host_ = nullptr;  // page-locked
    DeviceMemory attention_workspace_;
    DeviceMemory up_sums_;
    DeviceMemory matmul_workspace_;
    DeviceMemory routing_;
    RouteArgs route_ = {};         // where its parts are
    DeviceMemory expert_inputs_;   // bf16 or float rows in the order of slots
    void* result_host_ = nullptr;  // page-locked
    std::size_t result_host_bytes_ = 0;
    bool uses_graphs_ = true;
    bool uses_programs_ = false;
    ProgramRecorder* recorder_ = nullptr;  // set: launches are noted instead
    // Graphs hold the addresses of programs: both go together.
    std::unordered_map<StepKey, StepProgram, StepKeyHash> programs_;
    std::unordered_map<StepKey, Graph, StepKeyHash> graphs_;
};

}  // namespace llmcore::cuda
