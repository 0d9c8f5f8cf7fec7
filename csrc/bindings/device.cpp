// What devices this process can run models on, besides the CPU.
#include <pybind11/pybind11.h>

#include <string>

#include "backend/loader.h"

namespace py = pybind11;

void bind_device(py::module_& m) {
    m.def(
        "cuda_status",
        [] {
            const llmcore::CudaStatus status = [] {
                const py::gil_scoped_release release;
                return llmcore::cuda_status();
            }();
            const int capability = status.compute_capability;
            py::dict found;
            found["library"] = status.library;
            found["usable"] = status.reason.empty();
            found["reason"] = status.reason;
            found["name"] = status.name;
            found["total_bytes"] = status.total_bytes;
            found["free_bytes"] = status.free_bytes;
            found["compute_capability"] =
                std::to_string(capability / 10) + "." + std::to_string(capability % 10);
            found["multiprocessors"] = status.multiprocessors;
            return found;
        },
        "The CUDA backend as this process finds it: library (its path, empty without one), usable, reason "
        "(if "
        "not usable), name, total_bytes, free_bytes, compute_capability (such as 9.0) and multiprocessors.");
}
