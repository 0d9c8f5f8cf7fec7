// A step of one row as one kernel: a program of phases that all blocks walk together. They meet where a phase
// needs what another wrote, while the copies of weights, which need nobody, run ahead into the phases after.
#pragma once

#include <cstdint>
#include <span>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/gemv_dots.h"
#include "cuda/kernels/rope_store.h"
#include "cuda/kernels/rows.h"

namespace llmcore::cuda {

constexpr int kProgramWarps = 16;
constexpr int kProgramQueries = 4;      // query heads of one kv head that a block does together
constexpr int kProgramWindow = 8;       // phases that a block knows; a power of two
constexpr int kMostProgramTurns = 4;    // different rotations of heads
constexpr int kMostProgramPairs = 128;  // of dimensions of a head

enum class PhaseKind : int32_t { products, attention, row };

struct ProductsPhase {
    MatmulArgs matmul;  // of one row
    PackInput input;
    DotTraits traits;
    Packing packing;
    bool packs;  // false: the input is the same as in the phase before, and in the same form
    int32_t tile_bytes;
    int32_t k_tiles;
    int32_t n_units;
    int32_t first_block;  // has unit 0
};

// Rotates the queries, stores the new token's key and value, attends.
struct AttentionPhase {
    AttentionStepArgs attention;
    RopeStoreArgs rope;
    int32_t turns;  // which of ProgramArgs' rotations
};

// out = norm(x), as norm_rows(), or where there is no weight a copy of row rows[0].
struct RowPhase {
    NormRowsArgs norm;
    const int32_t* rows;
};

struct alignas(16) ProgramPhase {
    PhaseKind kind;
    bool waits;  // for all blocks to be done with what came before
    union {
        ProductsPhase products;
        AttentionPhase attention;
        RowPhase row;
    };
};

// Where things lie in a block's shared memory, in bytes.
struct ProgramShape {
    int32_t stages;      // super-tiles that a warp has under way
    int32_t slot_bytes;  // of the ring's slots, which come first
    int32_t barriers, window, partials, scratch, turns, arena, bytes;
    int32_t turn_stride;  // pairs between two rotations
};

struct ProgramTurns {
    const float* inv_freq;
    float magnitude;
    int32_t n;
};

struct ProgramArgs {
    const ProgramPhase* phases;
    uint32_t* arrived;  // 0 as the program starts
    StepView step;
    ProgramShape shape;
    ProgramTurns turns[kMostProgramTurns];
    int32_t n_phases;
    int32_t n_turns;
};

// By environment only: on an H100 a step takes 3.0 ms so where launches take 2.3 (8B, Q4_0).
bool programs_wanted();

bool programs_available(const DeviceLimits& limits);

// Whether there is a kernel for it, and what a phase says of it.
bool fill_products(ProductsPhase& phase, Packing packing, const MatmulArgs& matmul, const PackInput& input);

// Sets args.shape; args.turns are there. False: a block has not enough shared memory.
bool fit_program(const DeviceLimits& limits, std::span<const ProgramPhase> phases, ProgramArgs& args);

void run_program(const Stream& stream, const DeviceLimits& limits, const ProgramArgs& args);

}  // namespace llmcore::cuda
