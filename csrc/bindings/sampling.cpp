// The sampler alone, so that its formulas can be tested without a model.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "bindings/sampling_filters.h"
#include "sampling/random.h"
#include "sampling/sampler.h"

namespace py = pybind11;

namespace llmcore::bindings {

void read_filters(const py::dict& filters, SamplingParams& sampling) {
    const auto read = [&](const char* name, auto& value) {
        if (filters.contains(name)) value = filters[name].cast<std::remove_reference_t<decltype(value)>>();
    };
    read("typical_p", sampling.typical_p);
    read("top_n_sigma", sampling.top_n_sigma);
    read("xtc_probability", sampling.xtc_probability);
    read("xtc_threshold", sampling.xtc_threshold);
    read("mirostat", sampling.mirostat.version);
    read("mirostat_tau", sampling.mirostat.tau);
    read("mirostat_eta", sampling.mirostat.eta);
    read("dry_multiplier", sampling.dry.multiplier);
    read("dry_base", sampling.dry.base);
    read("dry_allowed_length", sampling.dry.allowed_length);
    read("dry_range", sampling.dry.range);
    read("dry_sequence_breakers", sampling.dry.breakers);
}

}  // namespace llmcore::bindings

namespace {

using llmcore::Sampler;

struct PySampler {
    Sampler sampler;
    llmcore::SamplingScratch scratch;
};

}  // namespace

void bind_sampling(py::module_& m) {
    using Logits = py::array_t<float, py::array::c_style | py::array::forcecast>;
    py::class_<PySampler>(m, "Sampler", "Chooses the tokens of one sequence.")
        .def(py::init([](std::uint64_t seed, float temperature, std::int64_t top_k, float top_p, float min_p,
                         float repetition_penalty, float frequency_penalty, float presence_penalty,
                         const std::vector<std::int32_t>& prompt, const py::dict& filters) {
                 llmcore::SamplingParams params;
                 params.temperature = temperature;
                 params.top_k = top_k;
                 params.top_p = top_p;
                 params.min_p = min_p;
                 params.repetition_penalty = repetition_penalty;
                 params.frequency_penalty = frequency_penalty;
                 params.presence_penalty = presence_penalty;
                 llmcore::bindings::read_filters(filters, params);
                 auto made = std::make_unique<PySampler>(PySampler{Sampler(params, seed, {}), {}});
                 made->sampler.observe_prompt(prompt);
                 return made;
             }),
             py::kw_only(), py::arg("seed"), py::arg("temperature") = 1.0F, py::arg("top_k") = 0,
             py::arg("top_p") = 1.0F, py::arg("min_p") = 0.0F, py::arg("repetition_penalty") = 1.0F,
             py::arg("frequency_penalty") = 0.0F, py::arg("presence_penalty") = 0.0F,
             py::arg("prompt") = py::list(), py::arg("filters") = py::dict())
        .def(
            "next",
            [](PySampler& self, const Logits& logits) {
                return self.sampler.next({logits.data(), static_cast<std::size_t>(logits.size())},
                                         self.scratch);
            },
            py::arg("logits"));
    m.def("uniform_draw", &llmcore::uniform_draw, py::arg("seed"), py::arg("place"),
          "The number in [0, 1) that a sequence's token at `place` is drawn with.");
}
