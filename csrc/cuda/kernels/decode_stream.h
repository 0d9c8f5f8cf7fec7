// The weights of a program, as a warp streams them through its ring in shared memory.
#pragma once

#include "cuda/bulk_copy.h"
#include "cuda/kernels/decode_program.h"

#if defined(SIMT_BULK_COPIES)

namespace llmcore::cuda {

// The first unit of a phase that the block has; it takes every gridDim.x-th.
SIMT_DEVICE int first_unit(const ProductsPhase& phase) {
    const int unit = static_cast<int>(blockIdx.x) - phase.first_block;
    return unit < 0 ? unit + static_cast<int>(gridDim.x) : unit;
}

// Of each unit of its block, gate before up, a warp has every kProgramWarps-th super-tile, counted on from
// unit to unit. Copies are started in that order, as far as the phases are known, and taken in the same.
class WeightStream {
public:
    SIMT_DEVICE WeightStream(const ProgramArgs& args, unsigned char* shared)
        : window_(reinterpret_cast<const ProgramPhase*>(shared + args.shape.window)),
          slots_(shared + warp_of_block() * args.shape.stages * args.shape.slot_bytes),
          barriers_(reinterpret_cast<uint64_t*>(shared + args.shape.barriers) +
                    warp_of_block() * args.shape.stages),
          stages_(args.shape.stages),
          slot_bytes_(args.shape.slot_bytes) {
        if (lane_of_warp() == 0)
            for (int stage = 0; stage < stages_; ++stage) barrier_init(barriers_ + stage, 1);
        barrier_init_done();
    }

    // Phases up to `last` are in the window.
    SIMT_DEVICE void know(int last) {
        last_phase_ = last;
        settle();
        while (can_copy()) copy_next();
    }

    // The next super-tile, there until it is given back.
    SIMT_DEVICE const unsigned char* take() {
        barrier_wait(barriers_ + slot_, parity_);
        return slots_ + slot_ * slot_bytes_;
    }
    SIMT_DEVICE void give_back() {
        __syncwarp();
        --in_flight_;
        if (++slot_ == stages_) {
            slot_ = 0;
            parity_ ^= 1U;
        }
        if (can_copy()) copy_next();
    }

    SIMT_DEVICE static int warp_of_block() { return static_cast<int>(threadIdx.x) / kWarp; }
    SIMT_DEVICE static int lane_of_warp() { return static_cast<int>(threadIdx.x) % kWarp; }

private:
    SIMT_DEVICE bool can_copy() const { return unit_ < n_units_ && in_flight_ < stages_; }

    SIMT_DEVICE void copy_next() {
        if (lane_of_warp() == 0) {
            const unsigned char* from = (in_up_ ? up_base_ : base_) + int64_t{k_tile_} * tile_bytes_;
            barrier_arrive_expecting(barriers_ + free_slot_, tile_bytes_);
            copy_bulk(slots_ + free_slot_ * slot_bytes_, from, tile_bytes_, barriers_ + free_slot_);
        }
        if (++free_slot_ == stages_) free_slot_ = 0;
        ++in_flight_;
        k_tile_ += kProgramWarps;
        settle();
    }

    // Goes to a super-tile that is there, or beyond all units of the last known phase. A matrix may have
    // fewer super-tiles a row than there are warps: then some have none of it. Phases that all have left are
    // never looked at again: the window has forgotten them.
    SIMT_DEVICE void settle() {
        for (;;) {
            while (unit_ < n_units_) {
                if (k_tile_ < k_tiles_) return;
                k_tile_ -= k_tiles_;
                if (up_base_ != nullptr && !in_up_)
                    in_up_ = true;
                else
                    next_unit();
            }
            if (phase_ >= last_phase_) return;
            const ProgramPhase& next = window_[++phase_ % kProgramWindow];
            if (next.kind != PhaseKind::products) continue;
            n_units_ = next.products.n_units;
            k_tiles_ = next.products.k_tiles;
            tile_bytes_ = next.products.tile_bytes;
            k_tile_ = warp_of_block();
            unit_step_ = static_cast<int64_t>(gridDim.x) * k_tiles_ * tile_bytes_;
            enter_unit(first_unit(next.products));
        }
    }

    SIMT_DEVICE void next_unit() {
        units_left_ -= static_cast<int>(gridDim.x);
        if (units_left_ <= 0) return enter_unit(unit_ + static_cast<int>(gridDim.x));
        unit_ += static_cast<int>(gridDim.x);
        in_up_ = false;
        base_ += unit_step_;
        if (up_base_ != nullptr) up_base_ += unit_step_;
    }

    SIMT_DEVICE void enter_unit(int unit) {
        unit_ = unit;
        in_up_ = false;
        if (unit >= n_units_) return;
        const MatmulArgs& matmul = window_[phase_ % kProgramWindow].products.matmul;
        const GemvUnit found = find_unit(matmul, unit);
        const MatmulJob& job = matmul.jobs[found.job];
        units_left_ = static_cast<int>(tiles_of(job.n, kTileRows)) - found.tile;
        const int64_t offset = int64_t{found.tile} * k_tiles_ * tile_bytes_;
        base_ = job.weight + offset;
        up_base_ = job.up == nullptr ? nullptr : job.up + offset;
    }

    const ProgramPhase* window_;
    unsigned char* slots_;
    uint64_t* barriers_;
    const int stages_;
    const int slot_bytes_;
    // Where the copies are.
    const unsigned char* base_ = nullptr;  // of the unit
    const unsigned char* up_base_ = nullptr;
    int last_phase_ = -1;
    int phase_ = -1;
    int unit_ = 0;
    int n_units_ = 0;
    int units_left_ = 0;  // of the job
    int64_t unit_step_ = 0;
    int k_tile_ = 0;
    int k_tiles_ = 0;
    int tile_bytes_ = 0;
    bool in_up_ = false;
    int free_slot_ = 0;
    int in_flight_ = 0;
    // The next to be taken.
    int slot_ = 0;
    uint32_t parity_ = 0;
};

}  // namespace llmcore::cuda

#endif
