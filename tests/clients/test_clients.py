"""Real clients, each installed in an environment of its own, against a served embedded model.

Run with `pytest -m clients`; it installs what requirements/*.txt and package.json list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

import pytest
from served_process import ServedProcess

pytestmark = pytest.mark.clients

Ran = Callable[..., str]


def is_chinese(text: str) -> bool:
    return re.search("[\u4e00-\u9fff]", text) is not None


def test_the_specifications_openai_example(run_example: Ran) -> None:
    assert is_chinese(run_example("openai_0_28", "spec_openai"))


@pytest.mark.parametrize("environment", ["langchain_0_3", "langchain_0_0"])
def test_the_specifications_langchain_example(run_example: Ran, environment: str) -> None:
    completed, answered = ast.literal_eval(run_example(environment, "spec_langchain"))
    assert isinstance(completed, str)
    assert is_chinese(answered)


def test_the_specifications_requests_example(run_example: Ran) -> None:
    assert is_chinese(run_example("requests", "spec_requests"))


def test_requests_reads_streams_as_text(run_example: Ran) -> None:
    assert is_chinese(run_example("requests", "requests_stream"))


def test_openai_before_1_0(run_example: Ran) -> None:
    assert is_chinese(run_example("openai_0_28", "openai_0_28_more"))


@pytest.mark.parametrize("environment", ["langchain_0_3", "langchain_0_0"])
def test_langchains_older_classes(run_example: Ran, environment: str) -> None:
    assert "done" in run_example(environment, "langchain_more")


def test_langchain_openai(run_example: Ran) -> None:
    assert "done" in run_example("langchain_openai", "langchain_openai_more")


def test_current_openai(run_example: Ran) -> None:
    assert is_chinese(run_example("openai_current", "openai_current"))


def test_current_openai_tools_and_schemas(run_example: Ran) -> None:
    assert "done" in run_example("openai_current", "openai_tools", "roomy_server")


def test_answers_are_of_current_openais_types(run_example: Ran) -> None:
    assert "done" in run_example("openai_current", "openai_types", "roomy_server")


def test_langchain_openai_tools_and_schemas(run_example: Ran) -> None:
    assert "done" in run_example("langchain_openai", "langchain_openai_tools", "roomy_server")


def test_anthropic(run_example: Ran) -> None:
    assert is_chinese(run_example("anthropic", "anthropic_current"))


def test_openai_in_node(
    server: ServedProcess, roomy_server: ServedProcess, run_in_node: Callable[..., str]
) -> None:
    assert is_chinese(run_in_node("openai_node.mjs", server.url))
    assert "done" in run_in_node("openai_tools_node.mjs", roomy_server.url)
