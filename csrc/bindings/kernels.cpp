// What this machine is and which kernels this build has for it.
#include <pybind11/pybind11.h>

#include <string>

#include "base/cpu_features.h"
#include "kernels/registry.h"
#include "quant/format_table.h"

namespace py = pybind11;

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
                entry["format"] = kernel->weight_format == llmcore::Format::none
                                      ? py::object(py::none())
                                      : py::str(llmcore::format_info(kernel->weight_format).name);
                entry["act_layout"] = llmcore::layout_name(kernel->act_layout);
                entry["usable"] = llmcore::can_run(kernel->isa, llmcore::detected_isa());
                kernels.append(entry);
            }
            return kernels;
        },
        "Every kernel of this build: name, op, isa, format, act_layout, usable (on this machine).");
}
