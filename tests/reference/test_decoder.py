"""The oracle itself: a really trained model must tell its story."""

from pathlib import Path

import pytest

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


@pytest.fixture(scope="module")
def decoder(stories_model, reference_decoder):
    return reference_decoder.ReferenceDecoder(stories_model)


def test_tells_the_known_story(decoder) -> None:
    pieces = decoder.metadata["tokenizer.ggml.tokens"]
    text = "".join(pieces[token] for token in decoder.greedy([1], 40)).replace("▁", " ").strip()
    assert text.startswith(STORY)


def test_a_position_does_not_see_what_follows(decoder) -> None:
    short, long = decoder.logits([1, 403, 407]), decoder.logits([1, 403, 407, 261, 378])
    assert abs(long[:3] - short).max() < 1e-9
    assert abs(long[2] - long[1]).max() > 1e-3


def test_imports_nothing_of_llmcore(repository: Path) -> None:
    source = (repository / "tests" / "reference" / "decoder.py").read_text(encoding="utf-8")
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert imports
    assert not any("llmcore" in line for line in imports)
