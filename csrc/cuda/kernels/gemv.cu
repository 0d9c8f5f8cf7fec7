// The choice of a packing's kernel; each is compiled in a file of its own.
#include "cuda/kernels/gemv.h"

#include "base/error.h"

namespace llmcore::cuda {

template <Packing P>
void gemv_of(const Stream& stream, const DeviceLimits& limits, const GemvArgs& args);
template <Packing P>
int gemv_rows_of(const DeviceLimits& limits, int64_t k);

namespace {

struct Entry {
    Packing packing;
    void (*run)(const Stream&, const DeviceLimits&, const GemvArgs&);
    int (*rows)(const DeviceLimits&, int64_t);
};

template <Packing P>
constexpr Entry entry() {
    return {P, &gemv_of<P>, &gemv_rows_of<P>};
}

constexpr Entry kEntries[] = {
    entry<Packing::q4_0>(),   entry<Packing::q4_1>(),   entry<Packing::q5_0>(),  entry<Packing::q5_1>(),
    entry<Packing::q8_0>(),   entry<Packing::q4_k>(),   entry<Packing::q5_k>(),  entry<Packing::q6_k>(),
    entry<Packing::iq4_nl>(), entry<Packing::iq4_xs>(), entry<Packing::mxfp4>(), entry<Packing::s8x16>(),
    entry<Packing::f16>(),    entry<Packing::bf16>(),
};

const Entry* find(Packing packing) {
    for (const Entry& candidate : kEntries)
        if (candidate.packing == packing) return &candidate;
    return nullptr;
}

}  // namespace

int gemv_rows(const DeviceLimits& limits, Packing packing, int64_t k) {
    const Entry* found = find(packing);
    if (found == nullptr) return 0;
    const int rows = found->rows(limits, k);
    // From 5 rows on wgmma is faster (measured on an H100).
    return limits.compute_capability == 90 && rows > 4 ? 4 : rows;
}

void gemv(const Stream& stream, const DeviceLimits& limits, Packing packing, const GemvArgs& args) {
    const Entry* found = find(packing);
    if (found == nullptr) fail(ErrorCode::internal, "cuda", "no product for this packing");
    if (args.matmul.m > 0) found->run(stream, limits, args);
}

}  // namespace llmcore::cuda
