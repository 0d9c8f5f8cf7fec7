"""`--explain`: which kernels ran, why these, and that every operation's can be forced."""

from __future__ import annotations

import itertools

import pytest

from llmcore import LLM, SamplingParams, kernels

FEW = SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True)


def test_run_prints_the_kernels_that_ran(llmcore, tiny_model) -> None:
    result = llmcore("run", tiny_model, "hello there", "-n", 3, "-t", 2, "--explain", "-q")
    assert result.exit_code == 0, result.output
    assert "2 threads" in result.stderr
    assert "KV cache F16" in result.stderr
    rows = [line.split() for line in result.stderr.splitlines() if line.startswith("linear")]
    assert rows
    assert {row[-1] for row in rows} == {"yes"}
    assert {row[1] for row in rows} == {"Q4_K", "Q6_K"}
    assert "kernel" not in result.stdout


def test_bench_prints_them_beside_its_json(llmcore, tiny_model) -> None:
    what = ("-p", 8, "-n", 2, "-r", 1, "-t", 1, "--json")
    result = llmcore("bench", tiny_model, *what, "--explain")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    assert "built-in" in result.stderr
    assert "built-in" not in llmcore("bench", tiny_model, *what).output


def test_choices_cover_every_size_of_a_step(tiny_model) -> None:
    with LLM(tiny_model, threads=1, n_ctx=64, max_batch=1) as llm:
        assert llm.kernel_uses() == []
        llm.generate([[5, 6, 7]], FEW)
        uses = llm.kernel_uses()
    assert {use.op for use in uses} >= {"linear", "norm", "rope", "kv_store", "attention", "glu"}
    products = {(use.format, use.n, use.k) for use in uses if use.op == "linear"}
    assert ("Q6_K", 512, 256) in products or ("Q4_K", 512, 256) in products
    for product in products:
        ranges = [use.rows for use in uses if use.op == "linear" and (use.format, use.n, use.k) == product]
        assert ranges[0][0] == 1
        assert ranges[-1][1] == 512
        assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(ranges))


@pytest.mark.parametrize("op", ["linear", "norm", "rope", "kv_store", "attention", "glu"])
def test_every_operation_can_be_forced(op: str, tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [kernel.name for kernel in kernels.list(op) if kernel.isa == "scalar"]
    monkeypatch.setenv("LLMCORE_KERNEL", ",".join(names))
    with LLM(tiny_model, threads=1, n_ctx=64, max_batch=1) as llm:
        llm.generate([[5, 6, 7]], FEW)
        ran = [use for use in llm.kernel_uses() if use.ran]
        text = llm.explain()
    assert {use.kernel for use in ran if use.op == op} <= set(names)
    assert {use.reason for use in ran if use.op == op} == {"forced"}
    assert {use.reason for use in ran if use.op not in (op, "pack")} == {"built-in"}
    assert ("nothing here runs on it: linear_q4_0_scalar" in text) == (op == "linear")
