"""The programs that `benchmarks.compare` runs beside each other, each as a process of its own a sample."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Test:
    """What is measured: `prefill` of n_prompt tokens, or `decode` of n_gen steps by `batch` sequences that
    have `depth` tokens cached."""

    kind: str
    n_prompt: int = 0
    n_gen: int = 0
    batch: int = 1
    depth: int = 0

    @property
    def name(self) -> str:
        if self.kind == "prefill":
            return f"prefill {self.n_prompt}"
        sequences = "" if self.batch == 1 else f", {self.batch} sequences"
        return f"decode {self.n_gen} at {self.depth}{sequences}"


class Peer(Protocol):
    name: str

    def supports(self, test: Test) -> bool: ...

    def run(self, test: Test) -> float:
        """Tokens a second, of all sequences together. Raises RuntimeError with what went wrong."""
        ...


def _output(command: list[str]) -> str:
    """Standard output; what a program logs does not matter unless it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


def _json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


class Llmcore:
    """`llmcore bench`."""

    name = "llmcore"

    def __init__(self, model: Path, threads: int) -> None:
        self._command = [sys.executable, "-m", "llmcore", "bench", str(model), "-r", "1", "--json"]
        self._command += ["-t", str(threads), "--device", "cpu"]

    def supports(self, test: Test) -> bool:  # noqa: ARG002 - as the others
        return True

    def run(self, test: Test) -> float:
        what = ["-p", str(test.n_prompt), "-n", str(test.n_gen), "-b", str(test.batch), "-d", str(test.depth)]
        (result,) = json.loads(_output([*self._command, *what]))["results"]
        return float(result["tps"])


class LlamaBench:
    """llama.cpp's llama-bench: one sequence."""

    name = "llama.cpp"

    def __init__(self, program: Path, model: Path, threads: int) -> None:
        self._command = [str(program), "-m", str(model), "-r", "1", "-o", "json", "-t", str(threads)]

    def supports(self, test: Test) -> bool:
        return test.batch == 1

    def run(self, test: Test) -> float:
        what = ["-p", str(test.n_prompt), "-n", str(test.n_gen), "-d", str(test.depth)]
        (result,) = json.loads(_output([*self._command, *what]))
        return float(result["avg_ts"])


class LlamaBatchedBench:
    """llama.cpp's llama-batched-bench: several sequences, each of which read a prompt of `depth` tokens."""

    name = "llama.cpp"

    def __init__(self, program: Path, model: Path, threads: int) -> None:
        self._command = [str(program), "-m", str(model), "-t", str(threads), "-tb", str(threads)]
        self._command += ["--output-format", "jsonl"]

    def supports(self, test: Test) -> bool:
        return test.kind == "decode" and test.batch > 1

    def run(self, test: Test) -> float:
        depth = max(1, test.depth)
        context = test.batch * (depth + test.n_gen)
        what = ["-c", str(context), "-npp", str(depth), "-ntg", str(test.n_gen), "-npl", str(test.batch)]
        results = [entry for entry in _json_lines(_output([*self._command, *what])) if "speed_tg" in entry]
        if not results:
            raise RuntimeError("llama-batched-bench printed no result")
        return float(results[-1]["speed_tg"])


class OpenVino:
    """OpenVINO GenAI on the same GGUF file, through benchmarks.openvino_sample; one sequence. `python`: an
    interpreter that has it."""

    name = "OpenVINO GenAI"

    def __init__(self, model: Path, threads: int, n_vocab: int, python: str = sys.executable) -> None:
        self._command = [python, "-m", "benchmarks.openvino_sample", str(model), "-t", str(threads)]
        self._command += ["--n-vocab", str(n_vocab)]

    @staticmethod
    def is_installed() -> bool:
        return find_spec("openvino_genai") is not None

    def why_not(self) -> str | None:
        """What keeps it from running the model, or None: it reads few architectures and vocabularies."""
        try:
            self.run(Test("prefill", n_prompt=8))
        except RuntimeError as error:
            return str(error).strip().splitlines()[-1]
        return None

    def supports(self, test: Test) -> bool:
        return test.batch == 1

    def run(self, test: Test) -> float:
        n_prompt = test.n_prompt if test.kind == "prefill" else max(1, test.depth)
        what = ["-p", str(n_prompt), "-n", str(test.n_gen)]
        return float(_json_lines(_output([*self._command, *what]))[-1]["tps"])
