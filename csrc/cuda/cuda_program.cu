// Steps of one row as a program: which are, and how it is made and run.
#include "cuda/cuda_backend.h"

namespace llmcore::cuda {

namespace {

constexpr std::size_t kMostPrograms = 64;

class Recording {
public:
    Recording(ProgramRecorder*& place, ProgramRecorder& recorder) : place_(place) { place_ = &recorder; }
    ~Recording() { place_ = nullptr; }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

private:
    ProgramRecorder*& place_;
};

}  // namespace

// Null: the step runs operation by operation.
const CudaBackend::StepProgram* CudaBackend::program_of_step() {
    if (!uses_programs_ || key_.n_rows != 1 || key_.n_decode_rows != 1 || key_.n_logit_rows != 1)
        return nullptr;
    auto found = programs_.find(key_);
    if (found == programs_.end()) {
        if (!uses_graphs_ && programs_.size() >= kMostPrograms) programs_.clear();
        StepProgram program = record_program();
        found = programs_.emplace(key_, std::move(program)).first;
    }
    return found->second.args ? &found->second : nullptr;
}

CudaBackend::StepProgram CudaBackend::record_program() {
    StepProgram program;
    std::vector<Operation> all;
    std::swap(all, operations_);
    // The embedding's table may have any packing; it stays a launch of its own.
    auto first = all.begin();
    if (first != all.end() && std::holds_alternative<EmbedOp>(*first))
        program.embed = std::get<EmbedOp>(*first++);
    operations_.assign(first, all.end());
    ProgramRecorder recorder(limits_.multiprocessors);
    try {
        const Recording recording(recorder_, recorder);
        if (program.embed) written(buffer(program.embed->out), key_.n_rows);
        run_operations();
    } catch (...) {
        operations_ = std::move(all);
        throw;
    }
    operations_ = std::move(all);
    ProgramArgs args;
    if (!recorder.finish(limits_, step_, args)) return program;
    const auto& phases = recorder.phases();
    program.phases = DeviceMemory(phases.size() * sizeof(ProgramPhase));
    copy_to_device(program.phases.as<void>(), phases.data(), program.phases.bytes(), stream_);
    wait_for(stream_);
    args.phases = program.phases.as<ProgramPhase>();
    args.arrived = arrived_;
    program.args = args;
    return program;
}

void CudaBackend::run_program_of(const StepProgram& program) {
    if (program.embed) run(*program.embed);
    run_program(stream_, limits_, *program.args);
    note_result(buffer({key_.result}));
}

}  // namespace llmcore::cuda
