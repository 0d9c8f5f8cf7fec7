#include <string>
#include <vector>

#include "harness.h"
#include "tokenizer/merges.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/utf8_assembler.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

// Every way to cut `bytes` in two gives the same text.
void check_all_cuts(const std::string& bytes, const std::string& expected) {
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        Utf8Assembler assembler;
        std::string text = assembler.push(bytes.substr(0, cut));
        text += assembler.push(bytes.substr(cut));
        text += assembler.flush();
        CHECK_MSG(text == expected, "cut at " << cut << " of " << bytes.size());
    }
}

std::string replacements(int n) {
    std::string text;
    while (n-- > 0) text += kReplacement;
    return text;
}

}  // namespace

LLMCORE_TEST(utf8_characters_stay_whole) {
    check_all_cuts("a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80z", "a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80z");
    Utf8Assembler assembler;
    CHECK(assembler.push("\xF0\x9F").empty());
    CHECK(assembler.push("\x98").empty());
    CHECK(assembler.push("\x80") == "\xF0\x9F\x98\x80");
    CHECK(assembler.flush().empty());
}

LLMCORE_TEST(utf8_one_replacement_for_each_invalid_part) {
    check_all_cuts("\x80", replacements(1));
    check_all_cuts("\xC0\x80", replacements(2));          // overlong
    check_all_cuts("\xED\xA0\x80", replacements(3));      // a surrogate
    check_all_cuts("\xF4\x90\x80\x80", replacements(4));  // above U+10FFFF
    check_all_cuts(
        "\xE2\x82"
        "a",
        replacements(1) + "a");
    check_all_cuts("\xF0\x9F\x98", replacements(1));
    check_all_cuts("\xF0\x9F\xE2\x82\xAC", replacements(1) + "\xE2\x82\xAC");
}

LLMCORE_TEST(stop_matcher_takes_the_stop_that_is_complete_first) {
    StopMatcher matcher({"abcd", "bc"});
    CHECK(matcher.push("xab") == "x");
    CHECK(matcher.push("cd") == "a");
    CHECK(matcher.stopped());
    CHECK(matcher.matched() == "bc");
    CHECK(matcher.flush().empty());
}

LLMCORE_TEST(stop_matcher_releases_what_cannot_become_a_stop) {
    StopMatcher matcher({"<end>", ""});
    CHECK(matcher.push("a<en") == "a");
    CHECK(matcher.push("emy") == "<enemy");
    CHECK(matcher.push("<<e") == "<");
    CHECK(matcher.flush() == "<e");
    CHECK(!matcher.stopped());
    CHECK_THROWS(ErrorCode::invalid_argument, StopMatcher({"\x80"
                                                           "a"}));
}

LLMCORE_TEST(vocabulary_checks_its_ids) {
    const Vocabulary vocabulary({" a", "b", "<end>"},
                                {TokenType::normal, TokenType::normal, TokenType::control}, {2}, true);
    const std::vector<std::int32_t> ids = {2, 0, 1, 0, 2};
    CHECK(vocabulary.decode(ids) == "ab a");
    CHECK(vocabulary.decode(ids, true) == "<end>ab a<end>");
    CHECK(vocabulary.text_bytes(2).empty());
    CHECK(vocabulary.ends_generation(2) && !vocabulary.ends_generation(1) && !vocabulary.ends_generation(-1));
    CHECK_THROWS(ErrorCode::invalid_argument, vocabulary.text_bytes(3));
    CHECK_THROWS(ErrorCode::invalid_argument, vocabulary.token_bytes(-1));
    CHECK_THROWS(ErrorCode::invalid_argument, Vocabulary({"a"}, {}, {}, false));
    CHECK_THROWS(ErrorCode::invalid_argument, Vocabulary({"a"}, {TokenType::normal}, {1}, false));
}

LLMCORE_TEST(merges_name_pieces) {
    const std::vector<std::string_view> tokens = {"a", " b", "a b"};
    const PieceIndex pieces(tokens);
    const std::vector<std::string_view> rules = {"a  b"};
    const std::vector<Merge> merges = parse_merges(pieces, rules);
    CHECK(merges.size() == 1 && merges[0].left == 0 && merges[0].right == 1 && merges[0].merged == 2);
    for (const std::string_view rule : {"a c", "c a", "a a", "ab", " ", ""}) {
        CHECK_THROWS(ErrorCode::model, parse_merges(pieces, std::vector<std::string_view>{rule}));
    }
}

}  // namespace llmcore
