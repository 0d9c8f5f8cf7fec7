"""Options of `llmcore run` that change what is generated, and how."""

from __future__ import annotations

import json

import pytest

SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}},
    "required": ["a"],
    "additionalProperties": False,
}
FEW = ("-q", "--temperature", 0, "-t", 1)


def test_no_limit_ends_with_the_context(llmcore, tiny_model) -> None:
    options = ("--temperature", 0, "-t", 1, "--n-ctx", 32, "--ignore-eos")
    assert "; length]" in llmcore("run", tiny_model, "ba", *options, "-n", -1).stderr
    refused = llmcore("run", tiny_model, "ba", *options, "-n", -2)
    assert refused.exit_code == 1
    assert "max_tokens" in refused.stderr


def test_json_schema(llmcore, tmp_path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    for given in (json.dumps(SCHEMA), tmp_path / "schema.json"):
        result = llmcore("run", "hi", *FEW, "-n", 64, "--json-schema", given)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["a"] in {1, 2}
    missing = llmcore("run", "hi", "--json-schema", tmp_path / "nothere")
    assert missing.exit_code == 1
    assert "nothere" in missing.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.gbnf", 'root ::= "yes" | "no"'), ("a", 'root ::= "yes" | "no"'), ("a.lark", 'start: "yes" | "no"')],
)
def test_grammar(llmcore, tmp_path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    result = llmcore("run", "hi", *FEW, "-n", 16, "--grammar", tmp_path / name)
    assert result.exit_code == 0, result.output
    assert result.stdout in {"yes\n", "no\n"}


def test_one_form_alone(llmcore, tmp_path) -> None:
    (tmp_path / "a").write_text("root ::= [a-z]+")
    result = llmcore("run", "hi", "--json-schema", "{}", "--grammar", tmp_path / "a")
    assert result.exit_code == 2
    assert "exclude" in result.stderr


def test_options_of_the_engine(llmcore, tiny_model) -> None:
    plain = llmcore("run", tiny_model, "ba", *FEW, "-n", 8)
    guessed = llmcore(
        *("run", tiny_model, "ba", *FEW, "-n", 8),
        *("--draft-model", tiny_model, "--prompt-lookup", 2, "--kv-cache-type", "f16"),
    )
    assert guessed.exit_code == 0, guessed.output
    assert guessed.stdout == plain.stdout
    explained = llmcore("run", tiny_model, "ba", *FEW, "-n", 2, "--kv-cache-type", "q8_0", "--explain")
    assert "KV cache Q8_0" in explained.stderr


def test_statistics_end_their_line(llmcore, tiny_model) -> None:
    result = llmcore("run", tiny_model, "ba", "-n", 2, "-t", 1)
    assert result.stderr.startswith("[")
    assert result.stderr.endswith("]\n")
