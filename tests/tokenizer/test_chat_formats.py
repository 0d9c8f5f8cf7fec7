"""The formats for files without a template, against the texts their models' publishers document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from llmcore.chat_formats import FORMATS, ChatFormat
from llmcore.chat_template import ChatTemplate
from llmcore.errors import InvalidArgumentError

SYSTEM = {"role": "system", "content": "Be kind."}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Where"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"place": "Köln", "days": 2}'},
        }
    ],
}
ANSWER = {"role": "tool", "content": "sunny", "tool_call_id": "abcdefghi"}
TOOL_TURNS = [{"role": "user", "content": "Weather?"}, CALL, ANSWER]
TOOL_JSON = (
    '{"type": "function", "function": {"name": "weather", "description": "Weather of a place", '
    '"parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "Where"}, '
    '"days": {"type": "integer"}}, "required": ["place"]}}}'
)
ARGUMENTS = '{"place": "Köln", "days": 2}'
HERMES = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
    f"function signatures within <tools></tools> XML tags:\n<tools>\n{TOOL_JSON}\n</tools>\n\nFor each "
    "function call, return a json object with function name and arguments within <tool_call></tool_call> XML "
    'tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
HERMES_TURNS = (
    "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
    f'{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
)


def of(name: str, vocabulary: str = "llama") -> ChatTemplate:
    one = next(one for one in FORMATS if one.name == name and one.vocabulary in ("", vocabulary))
    return ChatTemplate(one.source, "<s>", "</s>", one.variables)


def chatml(*turns: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


CHATML_TURNS = chatml(("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")) + "<|im_start|>assistant\n"
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
HARMONY = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: {date}\n\nReasoning: {effort}\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.{more}<|end|>"
)


def harmony(effort: str = "medium", more: str = "") -> str:
    return HARMONY.format(date=datetime.now().strftime("%Y-%m-%d"), effort=effort, more=more)


@pytest.mark.parametrize(
    ("name", "vocabulary", "system", "without"),
    [
        ("chatml", "llama", chatml(("system", "Be kind.")) + CHATML_TURNS, CHATML_TURNS),
        (
            "qwen",
            "llama",
            chatml(("system", "Be kind.")) + CHATML_TURNS,
            chatml(("system", "You are a helpful assistant.")) + CHATML_TURNS,
        ),
        (
            "qwen2_5",
            "llama",
            chatml(("system", "Be kind.")) + CHATML_TURNS,
            chatml(("system", QWEN)) + CHATML_TURNS,
        ),
        ("qwen3", "llama", chatml(("system", "Be kind.")) + CHATML_TURNS, CHATML_TURNS),
        (
            "llama2",
            "llama",
            "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
            "<s>[INST] Hi [/INST] Hello </s><s>[INST] Bye [/INST]",
        ),
        (
            "llama3",
            "llama",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "gemma",
            "llama",
            "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
            "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "mistral_v1",
            "llama",
            "<s>[INST] Be kind.\n\nHi [/INST] Hello</s>[INST] Bye [/INST]",
            "<s>[INST] Hi [/INST] Hello</s>[INST] Bye [/INST]",
        ),
        (
            "mistral_v3",
            "llama",
            "<s>[INST] Hi[/INST] Hello</s>[INST] Be kind.\n\nBye[/INST]",
            "<s>[INST] Hi[/INST] Hello</s>[INST] Bye[/INST]",
        ),
        (
            "mistral_v3",
            "gpt2",
            "<s>[INST]Hi[/INST]Hello</s>[INST]Be kind.\n\nBye[/INST]",
            "<s>[INST]Hi[/INST]Hello</s>[INST]Bye[/INST]",
        ),
        (
            "mistral_v7",
            "llama",
            "<s>[SYSTEM_PROMPT] Be kind.[/SYSTEM_PROMPT][INST] Hi[/INST] Hello</s>[INST] Bye[/INST]",
            "<s>[INST] Hi[/INST] Hello</s>[INST] Bye[/INST]",
        ),
        (
            "phi3",
            "llama",
            "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
            "<|user|>\nBye<|end|>\n<|assistant|>\n",
            "<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n",
        ),
        (
            "phi4_mini",
            "gpt2",
            "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|>"
            "<|assistant|>",
            "<|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|><|assistant|>",
        ),
        (
            "phi4",
            "llama",
            "<|im_start|>system<|im_sep|>Be kind.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
            "<|im_start|>assistant<|im_sep|>Hello<|im_end|><|im_start|>user<|im_sep|>Bye<|im_end|>"
            "<|im_start|>assistant<|im_sep|>",
            "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>Hello<|im_end|>"
            "<|im_start|>user<|im_sep|>Bye<|im_end|><|im_start|>assistant<|im_sep|>",
        ),
        (
            "chatglm3",
            "llama",
            "[gMASK]sop<|system|>\n Be kind.<|user|>\n Hi<|assistant|>\n Hello<|user|>\n Bye<|assistant|>",
            "[gMASK]sop<|user|>\n Hi<|assistant|>\n Hello<|user|>\n Bye<|assistant|>",
        ),
        (
            "glm4",
            "llama",
            "[gMASK]<sop><|system|>\nBe kind.<|user|>\nHi<|assistant|>\nHello<|user|>\nBye<|assistant|>\n",
            "[gMASK]<sop><|user|>\nHi<|assistant|>\nHello<|user|>\nBye<|assistant|>\n",
        ),
    ],
)
def test_conversations(name: str, vocabulary: str, system: str, without: str) -> None:
    template = of(name, vocabulary)
    assert template.render([SYSTEM, *TURNS]) == system
    assert template.render(TURNS) == without


def test_llama3_1_tells_the_date_in_its_system_turn() -> None:
    assert of("llama3_1").render([SYSTEM, *TURNS[:1]]) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert "Today Date: 1 Aug 2026\n" in of("llama3_1").render(TURNS[:1], date_string="1 Aug 2026")


def test_harmony_in_channels() -> None:
    template = of("gpt_oss")
    turns = (
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>Hello<|end|>"
        "<|start|>user<|message|>Bye<|end|><|start|>assistant"
    )
    assert template.render(TURNS) == harmony() + turns
    developer = "<|start|>developer<|message|># Instructions\n\nBe kind.\n\n<|end|>"
    assert template.render([SYSTEM, *TURNS]) == harmony() + developer + turns
    assert template.render([{**SYSTEM, "role": "developer"}, *TURNS]) == harmony() + developer + turns
    assert template.render(TURNS, reasoning_effort="low") == harmony("low") + turns
    done = [TURNS[0], {**TURNS[1], "reasoning_content": "A greeting."}]
    assert template.render(done, add_generation_prompt=False) == harmony() + (
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>analysis<|message|>A greeting.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello<|return|>"
    )


@pytest.mark.parametrize(
    ("name", "ending", "closing"),
    [
        ("chatml", "<|im_start|>assistant\n", ""),
        ("qwen3", "<|im_start|>assistant\n", ""),
        ("llama3", "<|start_header_id|>assistant<|end_header_id|>\n\n", ""),
        ("gemma", "<start_of_turn>model\n", ""),
        ("phi3", "<|assistant|>\n", "</s>"),
        ("phi4", "<|im_start|>assistant<|im_sep|>", ""),
        ("chatglm3", "<|assistant|>", ""),
        ("glm4", "<|assistant|>\n", ""),
        ("gpt_oss", "<|start|>assistant", ""),
    ],
)
def test_the_generation_prompt_is_all_that_is_added(name: str, ending: str, closing: str) -> None:
    template = of(name)
    whole = template.render([SYSTEM, *TURNS])
    assert whole.endswith(ending)
    assert template.render([SYSTEM, *TURNS], add_generation_prompt=False) == (
        whole.removesuffix(ending) + closing
    )


def test_hermes_tools() -> None:
    assert of("qwen2_5").render(TOOL_TURNS, tools=[TOOL]) == (
        f"<|im_start|>system\n{QWEN}\n\n{HERMES}<|im_end|>\n{HERMES_TURNS}"
    )
    assert of("qwen3").render([SYSTEM, *TOOL_TURNS], tools=[TOOL]) == (
        f"<|im_start|>system\nBe kind.\n\n{HERMES}<|im_end|>\n{HERMES_TURNS}"
    )
    two = of("qwen3").render([TURNS[0], CALL, ANSWER, ANSWER], tools=[TOOL])
    assert "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>\n<tool_response>\nsunny\n" in two


def test_qwen3_forgets_what_it_thought_before() -> None:
    thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}
    template = of("qwen3")
    assert template.render([TURNS[0], thought, TURNS[2]]) == CHATML_TURNS
    last = template.render([TURNS[0], thought], add_generation_prompt=False)
    assert last == chatml(("user", "Hi"), ("assistant", "<think>\nhm\n</think>\n\nHello"))
    given = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    assert template.render([TURNS[0], given], add_generation_prompt=False) == last
    off = template.render(TURNS, enable_thinking=False)
    assert off == CHATML_TURNS + "<think>\n\n</think>\n\n"


def test_llama3_1_tools() -> None:
    text = of("llama3_1").render(TOOL_TURNS, tools=[TOOL])
    assert "system<|end_header_id|>\n\nEnvironment: ipython\nCutting Knowledge Date" in text
    assert "user<|end_header_id|>\n\nGiven the following functions, please respond with a JSON for a" in text
    assert text.endswith(
        '\n}\n\nWeather?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{"name": "weather", '
        f'"parameters": {ARGUMENTS}}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"sunny"'
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_mistral_tools() -> None:
    assert of("mistral_v3", "gpt2").render(TOOL_TURNS, tools=[TOOL]) == (
        f"<s>[AVAILABLE_TOOLS][{TOOL_JSON}][/AVAILABLE_TOOLS][INST]Weather?[/INST]"
        f'[TOOL_CALLS][{{"name": "weather", "arguments": {ARGUMENTS}, "id": "abcdefghi"}}]</s>'
        '[TOOL_RESULTS]{"content": sunny, "call_id": "abcdefghi"}[/TOOL_RESULTS]'
    )


def test_harmony_tools() -> None:
    more = "\nCalls to these tools must go to the commentary channel: 'functions'."
    assert of("gpt_oss").render(TOOL_TURNS, tools=[TOOL]) == harmony(more=more) + (
        "<|start|>developer<|message|># Tools\n\n## functions\n\nnamespace functions {\n\n"
        "// Weather of a place\ntype weather = (_: {\n// Where\nplace: string,\ndays?: number,\n}) => any;"
        "\n\n"
        "} // namespace functions<|end|><|start|>user<|message|>Weather?<|end|>"
        f"<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{ARGUMENTS}<|call|>"
        '<|start|>functions.weather to=assistant<|channel|>commentary<|message|>"sunny"<|end|>'
        "<|start|>assistant"
    )


def test_glm_tools() -> None:
    text = of("glm4").render(TOOL_TURNS, tools=[TOOL])
    assert "# 可用工具\n\n## weather\n\n{\n    " in text
    assert text.endswith(
        f"<|user|>\nWeather?<|assistant|>weather\n{ARGUMENTS}<|observation|>\nsunny<|assistant|>\n"
    )
    text = of("chatglm3").render(TOOL_TURNS, tools=[TOOL])
    assert text.startswith(
        "[gMASK]sop<|system|>\n Answer the following questions as best as you can. You have access to the "
        'following tools:\n[\n    {\n        "name": "weather",'
    )
    assert text.endswith(
        "<|user|>\n Weather?<|assistant|>weather\n ```python\ntool_call(place='Köln', days=2)\n```"
        "<|observation|>\n sunny<|assistant|>"
    )
    arguments = {"x": "it's\n\\", "y": None}
    quoted = {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert r"tool_call(x='it\'s\n\\', y=None)" in of("chatglm3").render([TURNS[0], quoted])


@pytest.mark.parametrize("name", ["chatml", "qwen", "llama2", "llama3", "gemma", "phi3", "phi4"])
def test_formats_without_tools_say_so(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no tools"):
        of(name).render(TURNS, tools=[TOOL])


@pytest.mark.parametrize("name", ["llama2", "gemma", "mistral_v1", "mistral_v3"])
def test_formats_in_pairs_refuse_two_questions_in_a_row(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="take turns"):
        of(name).render([TURNS[0], TURNS[0]])


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_format_asks_for_something_and_runs(one: ChatFormat) -> None:
    assert one.tokens
    template = ChatTemplate(one.source, "<s>", "</s>", one.variables)
    question: dict[str, Any] = {"role": "user", "content": "What is 6 × 7?"}
    assert "What is 6 × 7?" in template.render([question])
