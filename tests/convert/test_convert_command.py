"""`llmcore convert`, and what llmcore makes of the files it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from model_folders import CONFIGS, ModelFolder

from llmcore import LLM
from llmcore.cli import main
from llmcore.errors import InvalidArgumentError
from llmcore.tools.convert import convert


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *(str(argument) for argument in arguments)])


def test_it_converts_and_says_what_it_wrote(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    out = folder.path.parent / "out.gguf"
    result = run(folder.path, out, "--type", "bf16")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "qwen2, bf16, 26 tensors" in result.stderr
    assert "320 tokens" in result.stderr
    assert [path.name for path in out.parent.glob("out*")] == ["out.gguf"]


def test_an_existing_file_is_kept_without_force(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    out = folder.path / "out.gguf"
    out.write_text("mine")
    result = run(folder.path, out)
    assert result.exit_code == 1
    assert "out.gguf: exists already; --force overwrites it" in result.stderr
    assert out.read_text() == "mine"
    assert run(folder.path, out, "--force").exit_code == 0
    assert out.read_bytes()[:4] == b"GGUF"


def test_a_failure_keeps_the_file_that_was_there(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e6  # found while writing
    folder.write(folder.path)
    out = folder.path / "out.gguf"
    out.write_text("mine")
    result = run(folder.path, out, "--force", "--type", "f16")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "error: [convert] values of model.layers.1.mlp.up_proj.weight do not fit f16"
    )
    assert out.read_text() == "mine"
    assert not list(folder.path.glob("*.part"))


def test_an_unknown_model_is_refused_by_name(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.config["model_type"] = "mamba"
    folder.write(folder.path)
    result = run(folder.path, folder.path / "out.gguf")
    assert result.exit_code == 1
    assert "got 'mamba'; expected one of llama, mistral, mixtral" in result.stderr


def test_warnings_are_shown(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.files["tokenizer.json"]["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True}
    folder.write(folder.path)
    result = run(folder.path, folder.path / "out.gguf")
    assert result.exit_code == 0
    assert "warning: the tokenizer's pre-tokenizer is not known" in result.stderr


def test_an_unknown_type_and_a_folder_that_is_none(tmp_path: Path) -> None:
    assert run(tmp_path, tmp_path / "x.gguf", "--type", "q4_0").exit_code == 2
    assert "it has no config.json" in run(tmp_path, tmp_path / "x.gguf").stderr
    with pytest.raises(InvalidArgumentError, match=r"type; got 'q4_0'; expected one of auto, f32, f16, bf16"):
        convert(tmp_path, tmp_path / "x.gguf", type_name="q4_0")


def test_progress_counts_the_bytes_of_the_file(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    calls: list[tuple[int, int]] = []
    done = convert(folder.path, folder.path / "out.gguf", progress=lambda *call: calls.append(call))
    assert calls[-1] == (done.n_bytes, done.n_bytes)
    assert [written for written, _ in calls] == sorted({written for written, _ in calls})
    assert (folder.path / "out.gguf").stat().st_size > done.n_bytes


@pytest.mark.parametrize("model_type", CONFIGS)
def test_llmcore_runs_what_was_converted(make_folder: Callable[..., ModelFolder], model_type: str) -> None:
    folder = make_folder(model_type)
    out = folder.path / "out.gguf"
    convert(folder.path, out)
    model = LLM(out, threads=1, n_ctx=64)
    ids = model.tokenizer.encode("the cat sat on the mat", add_special=False)
    logits = model.logits(ids)
    assert logits.shape == (len(ids), folder.config.get("vocab_size", 320))
    assert np.isfinite(logits).all()
    assert logits.std() > 0
