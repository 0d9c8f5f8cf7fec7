"""Generated text with control tokens named, and prompts to complete between two texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmcore.model_templates import ModelTemplates
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.tokenizer import Tokenizer


@pytest.fixture
def model(chat_tokenizer: Tokenizer) -> ModelTokenizer:
    return ModelTokenizer(chat_tokenizer, ModelTemplates(None))


def test_chosen_control_tokens_show(model: ModelTokenizer) -> None:
    ids = model.encode("a<|im_start|>人<|im_end|>b<think>", add_special=False, parse_special=True)
    text = model.marked_text(["<|im_start|>", "<think>", "absent"], [])
    assert text is not None
    pieces = [text.push([token]) for token in ids]
    assert "".join(pieces) + text.flush() == "a<|im_start|>人b<think>"
    assert "人" in pieces, "a character is never split"


def test_without_control_tokens_the_engines_text_tells_all(model: ModelTokenizer) -> None:
    assert model.marked_text(["<think>", "absent"], []) is None


def test_stop_strings_are_cut_as_the_engine_does(model: ModelTokenizer) -> None:
    ids = model.encode("ab<|im_start|>xstop", add_special=False, parse_special=True)
    text = model.marked_text(["<|im_start|>"], [], stop=["stop"])
    assert text is not None
    assert text.push(ids) + text.flush() == "ab<|im_start|>x"
    late = model.marked_text(["<|im_start|>"], [], stop=["stop"], min_tokens=100)
    assert late is not None
    assert late.push(ids) + late.flush() == "ab<|im_start|>xstop"


def test_special_tokens_by_name(model: ModelTokenizer) -> None:
    assert model.special_token("<|im_end|>") == model.tokenizer.eos_id
    assert model.special_token("<think>") is not None
    for other in ("a", "hello", "", "<|im_end|>a", "<|nothing|>"):
        assert model.special_token(other) is None


def test_infill(test_data: Path, model: ModelTokenizer) -> None:
    assert model.encode_infill("a", "b") is None
    coder = Tokenizer.from_gguf(test_data / "vocab" / "ggml-vocab-starcoder.gguf")
    ids = ModelTokenizer(coder, ModelTemplates(None)).encode_infill("def f(", "<fim_middle>)")
    assert ids is not None
    said = coder.decode(ids, skip_special=False)
    assert said == "<fim_prefix>def f(<fim_suffix><fim_middle>)<fim_middle>"
    middle = coder.encode("<fim_middle>", add_special=False, parse_special=True)
    assert ids.count(middle[0]) == 1, "a text from outside spells no control token"
