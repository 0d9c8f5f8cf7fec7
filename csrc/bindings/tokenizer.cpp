// Vocabulary, text assembly, stop strings and merge rules.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/gguf_file.h"
#include "tokenizer/merges.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/utf8_assembler.h"
#include "tokenizer/vocabulary.h"

namespace py = pybind11;

namespace {

py::bytes to_bytes(std::string_view bytes) { return py::bytes(bytes.data(), bytes.size()); }

// Views into the strings of a list; they live as long as it does. A string with lone surrogates raises.
std::vector<std::string_view> views(const py::list& strings) {
    std::vector<std::string_view> result;
    result.reserve(strings.size());
    for (const py::handle item : strings) {
        Py_ssize_t size = 0;
        const char* data = PyUnicode_AsUTF8AndSize(item.ptr(), &size);
        if (data == nullptr) throw py::error_already_set();
        result.emplace_back(data, static_cast<std::size_t>(size));
    }
    return result;
}

// Pairs of the list's own string objects: a large vocabulary has half a million merges of the same few
// strings.
py::list as_pairs(const py::list& tokens, const std::vector<llmcore::Merge>& merges) {
    py::list pairs(merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
        PyObject* pair = PyTuple_Pack(2, PyList_GET_ITEM(tokens.ptr(), merges[i].left),
                                      PyList_GET_ITEM(tokens.ptr(), merges[i].right));
        if (pair == nullptr) throw py::error_already_set();
        PyList_SET_ITEM(pairs.ptr(), static_cast<Py_ssize_t>(i), pair);
    }
    return pairs;
}

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

py::list spm_merges(const py::list& tokens, const Array<float>& scores, const Array<std::uint8_t>& types) {
    const std::vector<std::string_view> texts = views(tokens);
    std::vector<llmcore::TokenType> token_types;
    token_types.reserve(static_cast<std::size_t>(types.size()));
    for (py::ssize_t i = 0; i < types.size(); ++i) {
        token_types.push_back(static_cast<llmcore::TokenType>(types.data()[i]));
    }
    const std::span<const float> score_span(scores.data(), static_cast<std::size_t>(scores.size()));
    return as_pairs(tokens, llmcore::derive_spm_merges(texts, score_span, token_types));
}

py::list bpe_merges(const py::list& tokens, const py::list& rules) {
    const std::vector<std::string_view> texts = views(tokens);
    return as_pairs(tokens, llmcore::parse_bpe_merges(texts, views(rules)));
}

void bind_vocabulary(py::module_& m) {
    using llmcore::Vocabulary;
    py::class_<Vocabulary>(m, "Vocabulary", "The bytes each token stands for, and which tokens end a turn.")
        .def(
            py::init([](const llmcore::bindings::PyFile& file) { return Vocabulary::from_gguf(*file.file); }),
            py::arg("file"))
        .def_property_readonly("size", &Vocabulary::size)
        .def("__len__", &Vocabulary::size)
        .def(
            "text_bytes",
            [](const Vocabulary& v, std::int32_t token) { return to_bytes(v.text_bytes(token)); },
            py::arg("token"), "What the token adds to the text; nothing for a control token.")
        .def(
            "token_bytes",
            [](const Vocabulary& v, std::int32_t token) { return to_bytes(v.token_bytes(token)); },
            py::arg("token"), "As text_bytes, but a control token's own name.")
        .def(
            "token_type",
            [](const Vocabulary& v, std::int32_t token) { return static_cast<int>(v.type(token)); },
            py::arg("token"),
            "GGUF's token type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.")
        .def_property_readonly("token_types",
                               [](const Vocabulary& v) {
                                   py::array_t<std::uint8_t> types(v.size());
                                   for (std::int32_t id = 0; id < v.size(); ++id) {
                                       types.mutable_data()[id] = static_cast<std::uint8_t>(v.type(id));
                                   }
                                   return types;
                               })
        .def(
            "decode",
            [](const Vocabulary& v, const Array<std::int32_t>& tokens, bool with_control) {
                return to_bytes(
                    v.decode({tokens.data(), static_cast<std::size_t>(tokens.size())}, with_control));
            },
            py::arg("tokens"), py::arg("with_control") = false,
            "The bytes of a whole sequence, without a first word's leading space.")
        .def("ends_generation", &Vocabulary::ends_generation, py::arg("token"))
        .def_property_readonly("end_tokens",
                               [](const Vocabulary& v) {
                                   const std::span<const std::int32_t> ends = v.end_tokens();
                                   return std::vector<std::int32_t>(ends.begin(), ends.end());
                               })
        .def_property_readonly("strips_first_space", &Vocabulary::strips_first_space);
}

}  // namespace

void bind_tokenizer(pybind11::module_& m) {
    bind_vocabulary(m);
    py::class_<llmcore::Utf8Assembler>(m, "Utf8Assembler",
                                       "Joins bytes into text that never splits a character.")
        .def(py::init<>())
        .def(
            "push",
            [](llmcore::Utf8Assembler& a, const py::bytes& bytes) { return a.push(std::string_view(bytes)); },
            py::arg("bytes"))
        .def("flush", &llmcore::Utf8Assembler::flush);
    py::class_<llmcore::StopMatcher>(m, "StopMatcher",
                                     "Ends text at a stop string; holds back what may begin one.")
        .def(py::init<std::vector<std::string>>(), py::arg("stops"))
        .def("push", &llmcore::StopMatcher::push, py::arg("text"))
        .def("flush", &llmcore::StopMatcher::flush)
        .def_property_readonly("stopped", &llmcore::StopMatcher::stopped)
        .def_property_readonly("matched", &llmcore::StopMatcher::matched);
    m.def("spm_merges", &spm_merges, py::arg("tokens"), py::arg("scores"), py::arg("types"),
          "Merge rules a SentencePiece vocabulary implies, best first, as pairs of its strings.");
    m.def("bpe_merges", &bpe_merges, py::arg("tokens"), py::arg("rules"),
          "Pairs of vocabulary strings from rules written \"left right\"; unusable rules are left out.");
}
