// Vocabulary, encoding, text assembly and stop strings.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/gguf_file.h"
#include "tokenizer/byte_level_encoder.h"
#include "tokenizer/merges.h"
#include "tokenizer/piece_encoder.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/user_defined.h"
#include "tokenizer/utf8_assembler.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_fields.h"

namespace py = pybind11;

namespace {

py::bytes to_bytes(std::string_view bytes) { return py::bytes(bytes.data(), bytes.size()); }

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

// Text as it is in a Python string; one with lone surrogates raises UnicodeEncodeError.
std::string_view utf8(const py::handle& text) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    return {data, static_cast<std::size_t>(size)};
}

// The strings that text can become, by token id; none for control and unused tokens, and what is no text.
std::vector<py::object> reachable_strings(const llmcore::Vocabulary& vocabulary,
                                          const std::vector<std::string_view>& tokens) {
    std::vector<py::object> strings(tokens.size());
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        const llmcore::TokenType type = vocabulary.type(static_cast<std::int32_t>(id));
        if (type == llmcore::TokenType::control || type == llmcore::TokenType::unused) continue;
        if (tokens[id].empty()) continue;
        PyObject* text =
            PyUnicode_DecodeUTF8(tokens[id].data(), static_cast<Py_ssize_t>(tokens[id].size()), nullptr);
        if (text == nullptr) PyErr_Clear();
        strings[id] = py::reinterpret_steal<py::object>(text);
    }
    return strings;
}

// What the `tokenizers` library makes a byte-pair model from: ids by text, and the merges.
py::tuple byte_pair_tables(const llmcore::bindings::PyFile& file, const llmcore::Vocabulary& vocabulary) {
    const std::vector<std::string_view> tokens = llmcore::read_tokens(*file.file);
    const llmcore::PieceIndex pieces = llmcore::checked_index(tokens);
    const std::vector<llmcore::Merge> merges =
        llmcore::parse_merges(pieces, llmcore::read_merges(*file.file));
    if (tokens.size() != static_cast<std::size_t>(vocabulary.size())) {
        llmcore::fail(llmcore::ErrorCode::invalid_argument, "tokenizer", "another file's vocabulary");
    }
    if (llmcore::tokenizer_kind(*file.file) == "whitespace") {
        llmcore::require_merges(pieces, llmcore::types_of(vocabulary), merges);
    }
    const std::vector<py::object> strings = reachable_strings(vocabulary, tokens);
    py::dict ids;
    for (std::size_t id = 0; id < strings.size(); ++id) {
        if (strings[id]) ids[strings[id]] = id;
    }
    const auto string = [&](std::int32_t id) { return strings[static_cast<std::size_t>(id)]; };
    py::list pairs;
    std::set<std::pair<std::int32_t, std::int32_t>> seen;  // of equal rules the first counts
    for (const llmcore::Merge& merge : merges) {
        if (!string(merge.left) || !string(merge.right) || !string(merge.merged)) continue;
        if (seen.emplace(merge.left, merge.right).second) {
            pairs.append(py::make_tuple(string(merge.left), string(merge.right)));
        }
    }
    return py::make_tuple(ids, pairs);
}

void bind_piece_encoder(py::module_& m) {
    using llmcore::PieceEncoder;
    py::class_<PieceEncoder>(m, "PieceEncoder", "Token ids for vocabularies of SentencePiece's kind.")
        .def(py::init([](const llmcore::bindings::PyFile& file, const llmcore::Vocabulary& vocabulary) {
                 return PieceEncoder(*file.file, vocabulary);
             }),
             py::arg("file"), py::arg("vocabulary"))
        .def(
            "encode_batch",
            [](const PieceEncoder& encoder, const py::list& texts, bool continues) {
                std::vector<std::string_view> views;
                for (const py::handle text : texts) views.push_back(utf8(text));
                std::vector<std::vector<std::int32_t>> ids;
                {
                    const py::gil_scoped_release release;
                    for (const std::string_view text : views) ids.push_back(encoder.encode(text, continues));
                }
                return ids;
            },
            py::arg("texts"), py::arg("continues") = false,
            "Ids of each text, without BOS or EOS; no text becomes a control token. `continues`: another "
            "text "
            "precedes each, so that no space is put in front.");
}

py::tuple cut_to_python(const llmcore::ByteLevelEncoder::Cut& cut) {
    py::list plain;
    for (const std::string_view part : cut.plain) plain.append(py::str(part.data(), part.size()));
    return py::make_tuple(plain, py::cast(cut.tokens));
}

void bind_byte_level_encoder(py::module_& m) {
    using llmcore::ByteLevelEncoder;
    py::class_<ByteLevelEncoder>(m, "ByteLevelEncoder",
                                 "Token ids for byte-level vocabularies, from words already found.")
        .def(py::init([](const llmcore::bindings::PyFile& file, const llmcore::Vocabulary& vocabulary,
                         bool whole_words) { return ByteLevelEncoder(*file.file, vocabulary, whole_words); }),
             py::arg("file"), py::arg("vocabulary"), py::arg("whole_words"))
        .def_property_readonly("has_user_defined", &ByteLevelEncoder::has_user_defined)
        .def_property_readonly(
            "alphabet",
            [](const ByteLevelEncoder& encoder) {
                return std::vector<std::string>(encoder.alphabet().begin(), encoder.alphabet().end());
            },
            "The characters that pieces write bytes with, by byte.")
        .def(
            "cut",
            [](const ByteLevelEncoder& encoder, const py::str& text) {
                const std::string_view view = utf8(text);
                ByteLevelEncoder::Cut cut;
                {
                    const py::gil_scoped_release release;
                    cut = encoder.cut(view);
                }
                return cut_to_python(cut);
            },
            py::arg("text"), "A text's user-defined tokens, and what lies around them: one part more.")
        .def(
            "encode",
            [](const ByteLevelEncoder& encoder, const std::vector<std::int32_t>& bytes) {
                return encoder.encode(bytes);
            },
            py::arg("bytes"), py::call_guard<py::gil_scoped_release>(),
            "Ids of a text's bytes; 256 is added to the last byte of each word.");
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
    bind_piece_encoder(m);
    bind_byte_level_encoder(m);
    m.def("byte_pair_tables", &byte_pair_tables, py::arg("file"), py::arg("vocabulary"),
          "Ids by text (dict[str, int]) and merges (list[tuple[str, str]]) of what text can become.");
    m.def(
        "tokenizer_kind",
        [](const llmcore::bindings::PyFile& file) { return llmcore::tokenizer_kind(*file.file); },
        py::arg("file"), "How a file's vocabulary writes text: tokenizer.ggml.model, but for a few names.");
}
