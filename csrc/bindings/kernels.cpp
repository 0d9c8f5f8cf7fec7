// What this machine is and which kernels this build has for it.
#include <pybind11/pybind11.h>

#include <string>

#include "backend/kernel_ledger.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "bindings/kernel_choices.h"
#include "kernels/registry.h"
#include "quant/format_table.h"

namespace py = pybind11;

namespace llmcore::bindings {

namespace {

py::object format_name(Format format) {
    return format == Format::none ? py::object(py::none()) : py::str(format_info(format).name);
}

}  // namespace

TunedKernels read_tuned(const std::vector<TunedTuple>& tuples) {
    std::vector<TunedChoice> choices;
    for (const auto& [name, m, n, k] : tuples) {
        const Kernel* kernel = find_kernel(name);
        if (kernel == nullptr || kernel->op != Op::linear)
            fail(ErrorCode::invalid_argument, "kernels", "tuned kernel", name, "a linear one of this build");
        if (m < 1 || n < 1 || k < 1)
            fail(ErrorCode::invalid_argument, "kernels", "sides of a tuned product",
                 std::to_string(m) + ", " + std::to_string(n) + ", " + std::to_string(k), "1 or more");
        choices.push_back({.format = kernel->weight_format, .m = m, .n = n, .k = k, .kernel = kernel});
    }
    return TunedKernels(std::move(choices));
}

py::list kernel_uses(const Backend& backend) {
    py::list uses;
    for (const KernelUse& use : backend.kernel_uses()) {
        const Kernel& kernel = *use.choice.kernel;
        py::dict entry;
        entry["op"] = op_name(kernel.op);
        entry["format"] = format_name(kernel.weight_format);
        entry["n"] = use.shape.n;
        entry["k"] = use.shape.k;
        entry["head_dim"] = use.shape.head_dim;
        entry["rows"] = py::make_tuple(use.first_rows, use.last_rows);
        entry["kernel"] = kernel.name;
        entry["reason"] = reason_name(use.choice.reason);
        entry["ran"] = use.ran;
        uses.append(entry);
    }
    return uses;
}

}  // namespace llmcore::bindings

void bind_kernels(py::module_& m) {
    m.def(
        "machine",
        [] {
            py::dict machine;
            machine["cpu"] = llmcore::cpu_name();
            machine["isa"] = llmcore::isa_name(llmcore::detected_isa());
            machine["isa_ceiling"] = llmcore::isa_name(llmcore::isa_ceiling());
            py::list isas;
            for (const llmcore::Isa isa : llmcore::runnable_isas()) isas.append(llmcore::isa_name(isa));
            machine["isas"] = isas;
            machine["processors"] = llmcore::available_processors();
            return machine;
        },
        "The processor's name, the highest instruction set found and allowed (LLMCORE_ISA), all that can be "
        "named there, the lowest first, and the usable processors.");
    m.def(
        "kernels",
        [] {
            py::list kernels;
            for (const llmcore::Kernel* kernel : llmcore::all_kernels()) {
                py::dict entry;
                entry["name"] = kernel->name;
                entry["op"] = llmcore::op_name(kernel->op);
                entry["isa"] = llmcore::isa_name(kernel->isa);
                entry["format"] = llmcore::bindings::format_name(kernel->weight_format);
                entry["act_layout"] = llmcore::layout_name(kernel->act_layout);
                entry["out_layout"] = llmcore::layout_name(kernel->out_layout);
                entry["usable"] = llmcore::can_run(kernel->isa, llmcore::detected_isa());
                kernels.append(entry);
            }
            return kernels;
        },
        "Every kernel of this build: name, op, isa, format, act_layout, out_layout, usable (on this "
        "machine).");
    m.def(
        "linear_kernel",
        [](const std::string& format, std::int64_t rows, std::int64_t n, std::int64_t k) {
            const llmcore::FormatInfo* info = llmcore::find_format(format);
            if (info == nullptr)
                llmcore::fail(llmcore::ErrorCode::invalid_argument, "kernels", "unknown format", format,
                              "a format of GGUF tensors");
            const llmcore::Kernel& kernel = llmcore::KernelSelector::from_environment().select(
                llmcore::Op::linear, info->format, llmcore::Layout::gguf, llmcore::Layout::f32,
                {.m = llmcore::class_rows(llmcore::row_class(rows)), .n = n, .k = k});
            return std::string(kernel.name);
        },
        py::arg("format"), py::arg("m"), py::arg("n"), py::arg("k"),
        "The kernel for m activation rows times an n x k matrix, without measured choices.");
}
