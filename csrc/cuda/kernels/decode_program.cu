#include "cuda/kernels/decode_program.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "cuda/kernels/decode_attention.h"
#include "cuda/kernels/decode_stream.h"

namespace llmcore::cuda {

namespace {

constexpr int kThreads = kProgramWarps * kWarp;
constexpr int kMostStages = 8;
constexpr int kPartialFloats = 2 * kProgramWarps * 2 * kTileRows;  // of two units in turn
static_assert(kAttendWeights <= kPartialFloats);

SIMT_BOTH int padded_columns(int k) { return static_cast<int>(tiles_of(k, kTileCols)) * kTileCols; }

SIMT_BOTH int input_bytes(int k, int group) {
    const int padded = padded_columns(k);
    return padded + padded / 32 * 4 + padded / group * 16;
}

#if defined(SIMT_BULK_COPIES)

constexpr int kPackShort = 2;  // pack_row()'s loads
constexpr int kPackLong = 8;

SIMT_DEVICE DotInput input_in(unsigned char* arena, int k) {
    const int padded = padded_columns(k);
    auto* scales = reinterpret_cast<float*>(arena + padded);
    return {arena, scales, reinterpret_cast<uint32_t*>(scales + padded / 32)};
}

SIMT_DEVICE void pack_input(const ProductsPhase& phase, const DotInput& into, float* scratch) {
    const PackInput input = phase.input;
    const DotTraits traits = phase.traits;
    const auto store = [&](int column, uint32_t word, float scale, int sum) {
        store_dot_input(into, traits, column, word, scale, sum);
    };
    if (input.k <= 4 * kThreads * kPackShort)
        pack_row<kPackShort>(input, 0, scratch, store);
    else
        pack_row<kPackLong>(input, 0, scratch, store);
}

template <Packing P>
SIMT_DEVICE void multiply_units(const ProductsPhase& phase, const DotInput& input, WeightStream& stream,
                                float* partials) {
    const int warp = WeightStream::warp_of_block();
    const int lane = WeightStream::lane_of_warp();
    const int n_units = phase.n_units;
    const int k_tiles = phase.k_tiles;
    const int halves = phase.matmul.jobs[0].up == nullptr ? 1 : 2;  // of all jobs
    int turn = 0;
    int k_tile = warp;
    for (int index = first_unit(phase); index < n_units; index += static_cast<int>(gridDim.x), ++turn) {
        float* turn_partials = partials + turn % 2 * (kPartialFloats / 2);
        for (int which = 0; which < halves; ++which) {
            float sums[4] = {0.0F, 0.0F, 0.0F, 0.0F};
            for (; k_tile < k_tiles; k_tile += kProgramWarps) {
                add_dots<P>(input, stream.take(), k_tile, sums);
                stream.give_back();
            }
            k_tile -= k_tiles;
            add_over_quad(sums);
            if (lane % 4 == 0) {
                float* to = turn_partials + (warp * 2 + which) * kTileRows + lane / 4;
                to[0] = sums[0];
                to[8] = sums[2];
            }
        }
        __syncthreads();
        if (warp == turn % kProgramWarps)
            finish_unit<kProgramWarps, 1>(phase.matmul, turn_partials, find_unit(phase.matmul, index));
    }
}

SIMT_DEVICE void multiply(const ProductsPhase& phase, const DotInput& input, WeightStream& stream,
                          float* partials) {
    switch (phase.packing) {
        case Packing::q4_0:
            return multiply_units<Packing::q4_0>(phase, input, stream, partials);
        case Packing::q4_1:
            return multiply_units<Packing::q4_1>(phase, input, stream, partials);
        case Packing::q5_0:
            return multiply_units<Packing::q5_0>(phase, input, stream, partials);
        case Packing::q5_1:
            return multiply_units<Packing::q5_1>(phase, input, stream, partials);
        case Packing::q8_0:
            return multiply_units<Packing::q8_0>(phase, input, stream, partials);
        case Packing::q4_k:
            return multiply_units<Packing::q4_k>(phase, input, stream, partials);
        case Packing::q5_k:
            return multiply_units<Packing::q5_k>(phase, input, stream, partials);
        case Packing::q6_k:
            return multiply_units<Packing::q6_k>(phase, input, stream, partials);
        case Packing::iq4_nl:
            return multiply_units<Packing::iq4_nl>(phase, input, stream, partials);
        case Packing::iq4_xs:
            return multiply_units<Packing::iq4_xs>(phase, input, stream, partials);
        case Packing::mxfp4:
            return multiply_units<Packing::mxfp4>(phase, input, stream, partials);
        case Packing::s8x16:
            return multiply_units<Packing::s8x16>(phase, input, stream, partials);
        case Packing::f16:
        case Packing::bf16:
        case Packing::f32:
            return;  // fill_products() refuses them
    }
}

// One block has the row.
SIMT_DEVICE void do_row(const RowPhase& phase, float* scratch) {
    if (blockIdx.x != 0) return;
    const NormRowsArgs norm = phase.norm;
    const float* x = norm.x + (phase.rows == nullptr ? 0 : phase.rows[0] * norm.x_stride);
    float scale = 1.0F;
    if (norm.weight != nullptr) {
        float sum = 0.0F;
        for (int i = static_cast<int>(threadIdx.x); i < norm.n; i += kThreads) sum += x[i] * x[i];
        scale = 1.0F / sqrtf(sum_over_block(sum, scratch) / static_cast<float>(norm.n) + norm.eps);
    }
    for (int i = static_cast<int>(threadIdx.x); i < norm.n; i += kThreads) {
        float value = x[i];
        if (norm.weight != nullptr) value *= scale * norm.weight[i];
        if (norm.residual != nullptr) value += norm.residual[i];
        norm.out[i] = value;
    }
}

class ProgramRun {
public:
    SIMT_DEVICE explicit ProgramRun(const ProgramArgs& args)
        : args_(args), shared_(shared_memory()), stream_(args, shared_) {}

    SIMT_DEVICE void run() {
        begin();
        for (int index = 0; index < args_.n_phases; ++index) {
            const ProgramPhase& phase = window()[index % kProgramWindow];
            const int first_block = enter(phase, index);
            switch (phase.kind) {
                case PhaseKind::products: {
                    const DotInput input = input_in(arena(), phase.products.matmul.k);
                    if (phase.products.packs) {
                        pack_input(phase.products, input, scratch());
                        __syncthreads();
                    }
                    multiply(phase.products, input, stream_, floats_at(args_.shape.partials));
                    break;
                }
                case PhaseKind::attention:
                    attend(phase.attention, row_, turns(phase.attention.turns), first_block,
                           floats_at(args_.shape.partials), arena());
                    break;
                case PhaseKind::row:
                    do_row(phase.row, scratch());
                    break;
            }
        }
    }

private:
    // All that needs only the step: the first phases, the row's place, how heads turn.
    SIMT_DEVICE void begin() {
        const int known = min(kProgramWindow - 1, args_.n_phases);
        constexpr int kWords = sizeof(ProgramPhase) / 16;
        const auto* from = reinterpret_cast<const uint4*>(args_.phases);
        auto* to = reinterpret_cast<uint4*>(shared_ + args_.shape.window);
        for (int i = static_cast<int>(threadIdx.x); i < known * kWords; i += kThreads) to[i] = from[i];
        __syncthreads();
        stream_.know(known - 1);
        const int32_t sequence = args_.step.row_sequences[0];
        row_ = {args_.step.block_table + static_cast<int64_t>(sequence) * args_.step.block_table_stride,
                args_.step.positions[0], args_.step.kv_lens[sequence]};
        for (int which = 0; which < args_.n_turns; ++which) {
            const ProgramTurns& rotation = args_.turns[which];
            for (int pair = static_cast<int>(threadIdx.x); pair < rotation.n; pair += kThreads) {
                const Turn turn = turn_of(row_.position, rotation.inv_freq[pair], rotation.magnitude);
                turns(which)[pair] = make_float2(turn.cosine, turn.sine);
            }
        }
    }

    // Waits for what the phase needs, and lets the copies go on into one more. Returns prepare_attention()'s.
    SIMT_DEVICE int enter(const ProgramPhase& phase, int index) {
        copy_async_wait<0>();
        __syncthreads();
        if (phase.waits && threadIdx.x == 0) arrive_at_grid(args_.arrived);
        int first_block = 0;
        if (phase.kind == PhaseKind::attention)
            first_block = prepare_attention(phase.attention.attention, row_);
        else if (phase.kind == PhaseKind::products && blockIdx.x == 0)
            prepare_products(phase.products);
        if (phase.waits) {
            meetings_ += gridDim.x;
            if (threadIdx.x == 0) wait_for_grid(args_.arrived, meetings_);
            __syncthreads();
        }
        const int last = index + kProgramWindow - 1;
        if (last < args_.n_phases) {
            constexpr int kWords = sizeof(ProgramPhase) / 16;
            if (threadIdx.x < kWords)
                copy_async16(shared_ + args_.shape.window +
                                 (last % kProgramWindow * kWords + static_cast<int>(threadIdx.x)) * 16,
                             reinterpret_cast<const uint4*>(args_.phases + last) + threadIdx.x);
        }
        copy_async_commit();
        stream_.know(min(last - 1, args_.n_phases - 1));
        return first_block;
    }

    SIMT_DEVICE static void prepare_products(const ProductsPhase& phase) {
        if (phase.input.norm_weight == nullptr) return;
        for (int i = static_cast<int>(threadIdx.x) * 32; i < phase.input.k; i += kThreads * 32)
            prefetch_to_l2(phase.input.norm_weight + i);
    }

    SIMT_DEVICE const ProgramPhase* window() const {
        return reinterpret_cast<const ProgramPhase*>(shared_ + args_.shape.window);
    }
    SIMT_DEVICE float* floats_at(int offset) const { return reinterpret_cast<float*>(shared_ + offset); }
    SIMT_DEVICE float* scratch() const { return floats_at(args_.shape.scratch); }
    SIMT_DEVICE float2* turns(int which) const {
        return reinterpret_cast<float2*>(shared_ + args_.shape.turns) + which * args_.shape.turn_stride;
    }
    SIMT_DEVICE unsigned char* arena() const { return shared_ + args_.shape.arena; }

    const ProgramArgs& args_;
    unsigned char* shared_;
    WeightStream stream_;
    ProgramRow row_ = {};
    uint32_t meetings_ = 0;
};

#endif

SIMT_GLOBAL void SIMT_BOUNDS(kThreads, 1) decode_program(const ProgramArgs args) {
#if defined(SIMT_BULK_COPIES)
    ProgramRun(args).run();
#endif
}

int arena_bytes(const ProgramPhase& phase) {
    switch (phase.kind) {
        case PhaseKind::products:
            return input_bytes(phase.products.matmul.k, phase.products.traits.group);
        case PhaseKind::attention:
            return program_attention_bytes(phase.attention.attention);
        case PhaseKind::row:
            break;
    }
    return 0;
}

template <Packing P>
void set_traits(ProductsPhase& phase) {
    phase.traits = dot_traits<P>();
    phase.tile_bytes = Packed<P>::kBytes;
}

// False: no integer codes.
bool find_traits(ProductsPhase& phase) {
    switch (phase.packing) {
        case Packing::q4_0:
            return set_traits<Packing::q4_0>(phase), true;
        case Packing::q4_1:
            return set_traits<Packing::q4_1>(phase), true;
        case Packing::q5_0:
            return set_traits<Packing::q5_0>(phase), true;
        case Packing::q5_1:
            return set_traits<Packing::q5_1>(phase), true;
        case Packing::q8_0:
            return set_traits<Packing::q8_0>(phase), true;
        case Packing::q4_k:
            return set_traits<Packing::q4_k>(phase), true;
        case Packing::q5_k:
            return set_traits<Packing::q5_k>(phase), true;
        case Packing::q6_k:
            return set_traits<Packing::q6_k>(phase), true;
        case Packing::iq4_nl:
            return set_traits<Packing::iq4_nl>(phase), true;
        case Packing::iq4_xs:
            return set_traits<Packing::iq4_xs>(phase), true;
        case Packing::mxfp4:
            return set_traits<Packing::mxfp4>(phase), true;
        case Packing::s8x16:
            return set_traits<Packing::s8x16>(phase), true;
        case Packing::f16:
        case Packing::bf16:
        case Packing::f32:
            break;
    }
    return false;
}

}  // namespace

bool programs_wanted() {
    const char* setting = std::getenv("LLMCORE_CUDA_PERSISTENT");
    return setting != nullptr && std::string(setting) == "1";
}

bool programs_available(const DeviceLimits& limits) {
#if defined(__CUDACC__)
    return limits.compute_capability >= 90;  // bulk copies
#else
    return limits.multiprocessors > 0;
#endif
}

bool fill_products(ProductsPhase& phase, Packing packing, const MatmulArgs& matmul, const PackInput& input) {
    phase.packing = packing;
    if (matmul.m != 1 || matmul.expert_begin != nullptr || !find_traits(phase)) return false;
    for (int job = 1; job < matmul.n_jobs; ++job)
        if ((matmul.jobs[job].up == nullptr) != (matmul.jobs[0].up == nullptr)) return false;
    phase.matmul = matmul;
    phase.input = input;
    phase.packs = true;
    phase.k_tiles = static_cast<std::int32_t>(tiles_of(matmul.k, kTileCols));
    phase.n_units = count_units(matmul);
    phase.first_block = 0;
    return true;
}

bool fit_program(const DeviceLimits& limits, std::span<const ProgramPhase> phases, ProgramArgs& args) {
    ProgramShape& shape = args.shape;
    int arena = 0;
    shape = {};
    for (int which = 0; which < args.n_turns; ++which)
        shape.turn_stride = std::max(shape.turn_stride, args.turns[which].n + args.turns[which].n % 2);
    for (const ProgramPhase& phase : phases) {
        arena = std::max(arena, arena_bytes(phase));
        if (phase.kind == PhaseKind::products)
            shape.slot_bytes = std::max(shape.slot_bytes, phase.products.tile_bytes);
    }
    for (shape.stages = kMostStages; shape.stages >= 2; --shape.stages) {
        shape.barriers = kProgramWarps * shape.stages * shape.slot_bytes;
        shape.window = shape.barriers + kProgramWarps * shape.stages * static_cast<int>(sizeof(uint64_t));
        shape.partials = shape.window + kProgramWindow * static_cast<int>(sizeof(ProgramPhase));
        shape.scratch = shape.partials + kPartialFloats * 4;
        shape.turns = shape.scratch + kProgramWarps * 4;
        shape.arena = shape.turns + args.n_turns * shape.turn_stride * static_cast<int>(sizeof(float2));
        shape.bytes = shape.arena + arena;
        if (static_cast<std::size_t>(shape.bytes) <= limits.shared_bytes_per_block) return true;
    }
    return false;
}

void run_program(const Stream& stream, const DeviceLimits& limits, const ProgramArgs& args) {
    launch(stream, decode_program,
           {.grid_x = static_cast<unsigned>(limits.multiprocessors),
            .threads = kThreads,
            .shared_bytes = static_cast<std::size_t>(args.shape.bytes),
            .cooperative = true},
           args);
}

}  // namespace llmcore::cuda
