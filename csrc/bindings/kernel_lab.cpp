// One kernel alone on arrays: what llmcore.kernels runs and times.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/cpu_features.h"
#include "base/error.h"
#include "kernels/lab.h"
#include "kernels/registry.h"

namespace py = pybind11;

namespace {

using llmcore::KernelCall;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<std::int32_t, py::array::c_style>;

constexpr std::array<std::pair<std::string_view, llmcore::Activation>, 7> kActivations = {
    {{"none", llmcore::Activation::none},
     {"silu", llmcore::Activation::silu},
     {"gelu_tanh", llmcore::Activation::gelu_tanh},
     {"gelu_erf", llmcore::Activation::gelu_erf},
     {"relu", llmcore::Activation::relu},
     {"tanh", llmcore::Activation::tanh},
     {"swiglu_clamped", llmcore::Activation::swiglu_clamped}}};
constexpr std::array<std::pair<std::string_view, llmcore::RopeStyle>, 2> kRopeStyles = {
    {{"adjacent", llmcore::RopeStyle::adjacent}, {"halves", llmcore::RopeStyle::halves}}};

[[noreturn]] void refuse(const std::string& what, const std::string& got, const std::string& expected) {
    llmcore::fail(llmcore::ErrorCode::invalid_argument, "kernels", what, got, expected);
}

template <class Table>
auto named(const Table& table, const char* what, const std::string& name) {
    std::string names;
    for (const auto& [known, value] : table) {
        if (known == name) return value;
        names += (names.empty() ? "" : ", ") + std::string(known);
    }
    refuse(what, name, names);
}

const llmcore::Kernel& usable_kernel(const std::string& name) {
    const llmcore::Kernel* kernel = llmcore::find_kernel(name);
    if (kernel == nullptr) refuse("unknown kernel", name, "a name that 'llmcore kernels' lists");
    if (!llmcore::can_run(kernel->isa, llmcore::detected_isa()))
        refuse("kernel " + name + " cannot run here", llmcore::isa_name(llmcore::detected_isa()),
               llmcore::isa_name(kernel->isa));
    return *kernel;
}

template <class T>
void check_dimensions(const char* what, const py::array_t<T, py::array::c_style>& array, py::ssize_t n) {
    if (array.ndim() != n)
        refuse(std::string("dimensions of ") + what, std::to_string(array.ndim()), std::to_string(n));
}

template <class T>
std::span<const T> span_of(const py::array_t<T, py::array::c_style>& array) {
    return {array.data(), static_cast<std::size_t>(array.size())};
}

KernelCall linear(const std::string& name, const Bytes& weight, const Floats& x, int copies) {
    check_dimensions("weight", weight, 2);
    check_dimensions("x", x, 2);
    return KernelCall::linear(usable_kernel(name), {.weight = std::as_bytes(span_of(weight)),
                                                    .x = span_of(x),
                                                    .m = x.shape(0),
                                                    .n = weight.shape(0),
                                                    .k = x.shape(1),
                                                    .copies = copies});
}

KernelCall pack(const std::string& name, const Floats& x) {
    check_dimensions("x", x, 2);
    return KernelCall::pack(usable_kernel(name), span_of(x), x.shape(0), x.shape(1));
}

KernelCall norm(const std::string& name, const Floats& x, const Floats& weight, float eps) {
    check_dimensions("x", x, 2);
    return KernelCall::norm(
        usable_kernel(name),
        {.x = span_of(x), .weight = span_of(weight), .m = x.shape(0), .n = x.shape(1), .eps = eps});
}

KernelCall layer_norm(const std::string& name, const Floats& x, const Floats& weight,
                      const std::optional<Floats>& bias, float eps) {
    check_dimensions("x", x, 2);
    return KernelCall::layer_norm(
        usable_kernel(name),
        {{.x = span_of(x), .weight = span_of(weight), .m = x.shape(0), .n = x.shape(1), .eps = eps},
         bias ? span_of(*bias) : std::span<const float>()});
}

KernelCall glu(const std::string& name, const Floats& gate, const std::optional<Floats>& up,
               const std::string& activation) {
    check_dimensions("gate", gate, 2);
    return KernelCall::glu(usable_kernel(name),
                           {.gate = span_of(gate),
                            .up = up ? span_of(*up) : std::span<const float>(),
                            .m = gate.shape(0),
                            .n = gate.shape(1),
                            .activation = named(kActivations, "activation", activation)});
}

KernelCall rope(const std::string& name, const Floats& x, const Ints& positions, const Floats& inv_freq,
                const std::string& style) {
    check_dimensions("x", x, 3);
    return KernelCall::rope(usable_kernel(name), {.x = span_of(x),
                                                  .positions = span_of(positions),
                                                  .inv_freq = span_of(inv_freq),
                                                  .m = x.shape(0),
                                                  .n_heads = x.shape(1),
                                                  .head_dim = x.shape(2),
                                                  .style = named(kRopeStyles, "style", style)});
}

KernelCall attention(const std::string& name, const Floats& q, const Floats& k, const Floats& v, float scale,
                     float softcap, std::int64_t window, bool causal) {
    check_dimensions("q", q, 3);
    check_dimensions("k", k, 3);
    check_dimensions("v", v, 3);
    if (q.shape(2) != k.shape(2))
        refuse("head size of q", std::to_string(q.shape(2)), std::to_string(k.shape(2)));
    return KernelCall::attention(usable_kernel(name), {.q = span_of(q),
                                                       .k = span_of(k),
                                                       .v = span_of(v),
                                                       .n_tokens = q.shape(0),
                                                       .n_cached = k.shape(0),
                                                       .n_heads = q.shape(1),
                                                       .n_kv_heads = k.shape(1),
                                                       .head_dim = k.shape(2),
                                                       .scale = scale,
                                                       .softcap = softcap,
                                                       .window = window,
                                                       .causal = causal});
}

KernelCall kv_store(const std::string& name, const Floats& k, const Floats& v) {
    check_dimensions("k", k, 3);
    check_dimensions("v", v, 3);
    return KernelCall::attention(usable_kernel(name), {.q = {},
                                                       .k = span_of(k),
                                                       .v = span_of(v),
                                                       .n_tokens = 1,
                                                       .n_cached = k.shape(0),
                                                       .n_heads = k.shape(1),
                                                       .n_kv_heads = k.shape(1),
                                                       .head_dim = k.shape(2),
                                                       .scale = 1,
                                                       .softcap = 0,
                                                       .window = 0,
                                                       .causal = true});
}

KernelCall row_blocks(const std::string& name, const Floats& x, float max, float scale, float least) {
    check_dimensions("x", x, 1);
    return KernelCall::row_blocks(usable_kernel(name), span_of(x), max, scale, least);
}

KernelCall peak(const std::string& name, std::int64_t size) {
    return KernelCall::peak(usable_kernel(name), size);
}

py::array_t<std::uint8_t> output(const KernelCall& call) {
    const std::span<const std::byte> bytes = call.output();
    py::array_t<std::uint8_t> copy(static_cast<py::ssize_t>(bytes.size()));
    std::memcpy(copy.mutable_data(), bytes.data(), bytes.size());
    return copy;
}

}  // namespace

void bind_kernel_lab(pybind11::module_& m) {
    py::class_<llmcore::ThreadPool>(m, "ThreadPool",
                                    "Threads that share a kernel's rows; one caller at a time.")
        .def(py::init([](int n_threads) {
                 if (n_threads < 1 || n_threads > 1024)
                     refuse("threads", std::to_string(n_threads), "1 to 1024");
                 return std::make_unique<llmcore::ThreadPool>(n_threads);
             }),
             py::arg("n_threads"));
    py::class_<KernelCall>(m, "KernelCall", "One kernel with operands of its own; see llmcore.kernels.")
        .def_static("linear", &linear, py::arg("name"), py::arg("weight"), py::arg("x"),
                    py::arg("copies") = 1)
        .def_static("pack", &pack, py::arg("name"), py::arg("x"))
        .def_static("norm", &norm, py::arg("name"), py::arg("x"), py::arg("weight"), py::arg("eps"))
        .def_static("layer_norm", &layer_norm, py::arg("name"), py::arg("x"), py::arg("weight"),
                    py::arg("bias"), py::arg("eps"))
        .def_static("glu", &glu, py::arg("name"), py::arg("gate"), py::arg("up"), py::arg("activation"))
        .def_static("rope", &rope, py::arg("name"), py::arg("x"), py::arg("positions"), py::arg("inv_freq"),
                    py::arg("style"))
        .def_static("attention", &attention, py::arg("name"), py::arg("q"), py::arg("k"), py::arg("v"),
                    py::arg("scale"), py::arg("softcap"), py::arg("window"), py::arg("causal") = true)
        .def_static("kv_store", &kv_store, py::arg("name"), py::arg("k"), py::arg("v"))
        .def_static("row_blocks", &row_blocks, py::arg("name"), py::arg("x"), py::arg("max"),
                    py::arg("scale"), py::arg("least"))
        .def_static("peak", &peak, py::arg("name"), py::arg("size"))
        .def("run", &KernelCall::run, py::arg("pool"), py::call_guard<py::gil_scoped_release>(),
             "All rows once.")
        .def("time", &KernelCall::time, py::arg("pool"), py::arg("repeats"), py::arg("least_seconds"),
             py::call_guard<py::gil_scoped_release>(), "Seconds of a run, of each sample.")
        .def("output", &output, "What the kernel wrote, as bytes.");
}
