#!/usr/bin/env bash
# Everything that needs a GPU, in stages: gpu_check.sh OUT [STAGE ...]
#   build     the library, its tests and its benchmark, for the GPUs that are here
#   tests     the kernels' tests, on the device
#   sanitize  the small ones under compute-sanitizer: memcheck, racecheck
#   kernels   ceilings, then products by format, shape and rows; attention by the cache's format
#   models    whole models with random weights: decode and prefill, with graphs and without
#   peers     llama.cpp on the same files (PEER: the folder of llama-bench and llama-batched-bench)
#   parity    greedy text of the embedded model, here and on the CPU (needs this package installed)
# Results go to OUT. A stage fits in ten minutes.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$1
shift
stages=${*:-build tests sanitize kernels models peers parity}
build=${BUILD:-build/gpu}
models=${MODELS:-/dev/shm}
bench=$build/csrc/llmcore_gpu_bench
tests=$build/csrc/llmcore_cuda_tests
export LLMCORE_CUDA_LIBRARY=$PWD/$build/csrc/cuda/libllmcore_cuda.so
failed=0

stage_build() {
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLMCORE_CUDA=AUTO -DLLMCORE_CUDA_TESTS=ON >"$out/cmake.log" &&
        cmake --build "$build" --target llmcore_cuda llmcore_gpu_bench llmcore_cuda_tests -j "$(nproc)" >"$out/build.log" 2>&1
}
stage_tests() { "$tests" >"$out/tests.log" 2>&1; local code=$?; tail -1 "$out/tests.log"; return $code; }
stage_sanitize() {
    local code=0
    for tool in memcheck racecheck; do
        for name in gemv_jobs experts attention_decode; do
            timeout 100 compute-sanitizer --tool $tool --error-exitcode 9 "$tests" $name >"$out/$tool-$name.log" 2>&1 || code=1
            echo "$tool $name: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$out/$tool-$name.log")"
        done
    done
    return $code
}
stage_kernels() { "$bench" kernels >"$out/kernels.json" && "$bench" attention >"$out/attention.json"; }
stage_models() {
    : >"$out/models.json"
    for model in "8b Q4_0" "8b Q4_K_M" "8b Q8_0" "14b Q4_K_M"; do
        set -- $model
        "$bench" model "$1" "$2" "$models/$1-$2.gguf" >>"$out/models.json" || return 1
    done
    LLMCORE_CUDA_GRAPHS=0 "$bench" model 8b Q4_0 "$models/8b-Q4_0.gguf" >>"$out/models.json"
}
stage_peers() {
    : >"$out/peers.jsonl"
    for quant in Q4_0 Q4_K_M Q8_0; do
        "$PEER/llama-bench" -m "$models/8b-$quant.gguf" -ngl 99 -p 2048 -ub 2048 -n 128 -fa 1 -r 3 -o jsonl >>"$out/peers.jsonl" 2>>"$out/peers.log"
    done
    "$PEER/llama-batched-bench" -m "$models/8b-Q4_0.gguf" -ngl 99 -fa on -c 16384 -b 2048 -ub 512 -npp 128 -ntg 64 \
        -npl 1,8,32,64 --output-format jsonl >>"$out/peers.jsonl" 2>>"$out/peers.log"
}
stage_parity() {
    unset LLMCORE_CUDA_LIBRARY
    python3 benchmarks/gpu/parity.py
}

for stage in $stages; do
    begin=$SECONDS
    "stage_$stage"
    code=$?
    echo "== $stage: $((SECONDS - begin)) s, exit $code"
    [ $code -eq 0 ] || failed=1
done
exit $failed
