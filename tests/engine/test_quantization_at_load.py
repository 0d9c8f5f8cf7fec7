"""Weights quantized as they are loaded: the same model as from the file that `llmcore quantize` writes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from llmcore import LLM, _core
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.tools.quantize import quantize_model
from llmcore.tools.quantize_plan import Choice, plan
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 256, 2, 4, 2, 64, 512, 300, 512)
IDS = [1, 270, 281, 290, 265]


def quantize(source: Path, out: Path, quantization: str) -> None:
    file, choice = _core.GGUFFile(source), Choice(quantization)
    quantize_model(file, out, choice, plan(file, choice))


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wide.gguf"
    synthesize(path, SHAPE, "F16")
    return path


@pytest.mark.parametrize("quantization", ["q4_0", "Q8_0", "q4_k_m", "iq4_xs", "Q2_K"])
def test_the_same_logits_as_of_the_quantized_file(
    wide_model: Path, tmp_path: Path, quantization: str
) -> None:
    narrow = tmp_path / "narrow.gguf"
    quantize(wide_model, narrow, quantization)
    with LLM(narrow) as llm:
        expected = llm.logits(IDS)
        weight_bytes = llm.model_info.weight_bytes
    with LLM(wide_model, quantization=quantization) as llm:
        assert np.array_equal(llm.logits(IDS), expected)
        assert llm.model_info.weight_bytes == weight_bytes
        assert llm.model_info.quantization.lower() in quantization.lower()
    with LLM(wide_model) as llm:
        assert not np.array_equal(llm.logits(IDS), expected)


def test_narrow_weights_stay_as_they_are(wide_model: Path, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.gguf"
    quantize(wide_model, narrow, "Q4_0")
    with LLM(narrow) as llm:
        expected = llm.logits(IDS)
    with LLM(narrow, quantization="q8_0") as llm:
        assert np.array_equal(llm.logits(IDS), expected)


def test_an_unknown_type_is_refused(wide_model: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="q9_9"):
        LLM(wide_model, quantization="q9_9")


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "nan.gguf"
    synthesize(path, SHAPE, "F32")
    data = bytearray(path.read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"
    path.write_bytes(data)
    with pytest.raises((ModelError, InvalidArgumentError), match=r"tensor \S+\.weight.*nan"):
        LLM(path, quantization="q4_0")


def test_a_signal_ends_the_load(tmp_path: Path) -> None:
    synthesize(tmp_path / "m.gguf", Shape("llama", 512, 12, 8, 8, 64, 2048, 512, 256), "F16")

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            LLM(tmp_path / "m.gguf", threads=1, quantization="Q4_K")
        interrupted = time.monotonic() - began
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    began = time.monotonic()
    LLM(tmp_path / "m.gguf", threads=1, quantization="Q4_K").close()
    assert interrupted < (time.monotonic() - began) / 2
