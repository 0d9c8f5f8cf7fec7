"""Calls and reasoning in `/v1/chat/completions` over a fake engine."""

from __future__ import annotations

import json
import re

import pytest
from fake_engine import FakeEngine, FakeTokenizer
from in_process_client import InProcessClient
from served_process import events

from llmcore.errors import GrammarError, InvalidArgumentError

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = [WEATHER, CLOCK]
TWO_CALLS = (
    "Let me see.\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "上海"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
)


def client_saying(text: str, template: str | None = "<tool_call>", **tokenizer: bool) -> InProcessClient:
    return InProcessClient(FakeEngine(text=text, tokenizer=FakeTokenizer(template, **tokenizer)))


def chat(client, **body):
    answer = client.post(CHAT, {"messages": HELLO, **body})
    assert answer.status_code == 200, answer.text
    return answer


def test_calls():
    (choice,) = chat(client_saying(TWO_CALLS), tools=TOOLS).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"] == "Let me see."
    first, second = message["tool_calls"]
    assert first["type"] == "function"
    assert first["function"] == {"name": "weather", "arguments": '{"city": "上海"}'}
    assert second["function"] == {"name": "clock", "arguments": "{}"}
    assert first["id"].startswith("call_")
    assert first["id"] != second["id"]


def test_content_is_null_beside_calls_alone():
    text = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    message = chat(client_saying(text), tools=TOOLS).json()["choices"][0]["message"]
    assert message["content"] is None
    plain = chat(client_saying("no call"), tools=TOOLS).json()["choices"][0]
    assert "tool_calls" not in plain["message"]
    assert plain["finish_reason"] == "stop"


def test_streamed_calls_tell_ids_and_names_once():
    answer = chat(client_saying(TWO_CALLS), tools=TOOLS, stream=True)
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me see."
    fragments = [call for delta in deltas for call in delta.get("tool_calls", ())]
    for index, name, arguments in ((0, "weather", '{"city": "上海"}'), (1, "clock", "{}")):
        first, *others = [fragment for fragment in fragments if fragment["index"] == index]
        assert first["type"] == "function"
        assert first["function"] == {"name": name, "arguments": ""}
        assert all(set(other) == {"index", "function"} for other in others)
        assert "".join(other["function"]["arguments"] for other in others) == arguments
    city = [fragment for fragment in fragments if fragment["index"] == 0]
    assert len(city) > 5, "arguments arrive as they are written"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "tool_calls"


def test_one_call_where_calls_are_not_parallel():
    for stream in (False, True):
        answer = chat(client_saying(TWO_CALLS), tools=TOOLS, parallel_tool_calls=False, stream=stream)
        assert "weather" in answer.text
        assert "clock" not in answer.text


def test_no_calls_without_tools_or_choice():
    for extra in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        client = client_saying(TWO_CALLS)
        (choice,) = chat(client, **extra).json()["choices"]
        assert choice["message"]["content"] == TWO_CALLS
        assert choice["finish_reason"] == "stop"
        assert client.engine.tokenizer.tools == [None]


def test_tools_and_results_reach_the_template():
    client = client_saying("ok")
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    assert client.post(CHAT, {"messages": messages, "tools": TOOLS}).status_code == 200
    (tools,) = client.engine.tokenizer.tools
    assert tools[0] == WEATHER
    assert tools[1]["function"]["parameters"] == {"type": "object", "properties": {}}
    seen = json.loads("".join(map(chr, client.engine.prompts[0])))
    assert seen[1] == {**messages[1], "content": ""}
    assert seen[2] == messages[2]


def test_models_without_a_format_of_their_own_are_taught_one():
    client = client_saying(TWO_CALLS, "a template", takes_tools=False)
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [{"function": {"name": "clock", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "content": "noon"},
    ]
    body = client.post(CHAT, {"messages": messages, "tools": TOOLS}).json()
    assert len(body["choices"][0]["message"]["tool_calls"]) == 2
    system, _, call, result = json.loads("".join(map(chr, client.engine.prompts[0])))
    assert "Tells the weather." in system["content"]
    assert call["content"] == '<tool_call>\n{"name": "clock", "arguments": {"a": 1}}\n</tool_call>'
    assert result == {"role": "user", "content": "<tool_response>\nnoon\n</tool_response>"}


def test_templates_without_a_system_are_told_by_the_user():
    client = client_saying(TWO_CALLS, "a template", takes_tools=False)
    tokenizer = client.engine.tokenizer
    render = tokenizer.render_chat

    def refuse_systems(messages, *arguments, **variables):
        if messages[0]["role"] == "system":
            raise InvalidArgumentError("no system here")
        return render(messages, *arguments, **variables)

    tokenizer.render_chat = refuse_systems
    assert len(chat(client, tools=TOOLS).json()["choices"][0]["message"]["tool_calls"]) == 2
    (user,) = json.loads("".join(map(chr, client.engine.prompts[0])))
    assert user["role"] == "user"
    assert user["content"].endswith("\n\nHello!")
    system = [{"role": "system", "content": "x"}, *HELLO]
    assert client.post(CHAT, {"messages": system, "tools": TOOLS}).status_code == 400


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("<|python_tag|>", '{"name": "weather", "parameters": {"city": "上海"}}'),
        ("[TOOL_CALLS]", '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "上海"}}]'),
        (
            "<|channel|><|message|>",
            '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "上海"}',
        ),
    ],
)
def test_other_families(template, text):
    (choice,) = chat(client_saying(text, template), tools=TOOLS).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "上海"}'}
    assert choice["message"]["content"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_control_tokens_structure_an_answer_though_no_text_has_them(stream):
    """gpt-oss's channels, here a character each, are control tokens."""
    names = {"C": "<|channel|>", "M": "<|message|>", "E": "<|end|>", "S": "<|start|>", "X": "<|other|>"}
    client = client_saying("CanalysisMhmESassistantCfinalMyes Xsir", "<|channel|><|message|>")
    client.engine.tokenizer.controls = {ord(character): name for character, name in names.items()}
    answer = chat(client, stream=stream)
    if stream:
        *chunks, _ = events(answer.text)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    else:
        deltas = [choice["message"] for choice in answer.json()["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"
    assert "".join(delta.get("content", "") for delta in deltas) == "yes sir"


def test_mistrals_templates_get_ids_they_take():
    client = client_saying("ok", "[TOOL_CALLS]")
    calls = [
        {"id": call_id, "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        for call_id in ("call_0123456789abcdef", "abcDEF123")
    ]
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "noon"},
    ]
    assert client.post(CHAT, {"messages": messages, "tools": TOOLS}).status_code == 200
    asked, answered = json.loads("".join(map(chr, client.engine.prompts[0])))[1:]
    first, second = (call["id"] for call in asked["tool_calls"])
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert second == "abcDEF123"
    assert answered["tool_call_id"] == first


def allowed(mode, *names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_allowed_tools():
    client = client_saying("ok")
    chat(client, tools=TOOLS, tool_choice=allowed("auto", "clock"))
    ((tool,),) = client.engine.tokenizer.tools
    assert tool["function"]["name"] == "clock"


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice.type"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
            },
            "tool_choice",
        ),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": allowed("auto", "clock", "x")}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": allowed("sometimes", "clock")}, "tool_choice.mode"),
        (
            {"tools": TOOLS, "tool_choice": allowed({"type": "allowed_tools", "tools": []})},
            "tool_choice.mode",
        ),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
    ],
)
def test_bad_tools_are_named(client, extra, param):
    answer = client.post(CHAT, {"messages": HELLO, **extra})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_reasoning_is_apart():
    client = client_saying("<think>\nhm hm\n</think>\n\nYes.", "{{ '</think>' }}")
    body = chat(client).json()
    (choice,) = body["choices"]
    assert choice["message"]["reasoning_content"] == "hm hm"
    assert choice["message"]["content"] == "Yes."
    reasoning = body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert 5 < reasoning < body["usage"]["completion_tokens"]
    *chunks, _ = events(chat(client, stream=True).text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm hm"
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."


def test_reasoning_that_the_prompt_opens():
    client = client_saying("hm</think>Yes.", "<think></think>")
    client.engine.tokenizer.thinks_at_once = True
    message = chat(client).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "Yes.")


def test_effort_reaches_templates_that_ask_for_it():
    client = client_saying("ok", "{% if enable_thinking %}")
    answer = chat(client, reasoning_effort="none", chat_template_kwargs={"extra": 1})
    assert "x-llmcore-warnings" not in answer.headers
    expected = {"enable_thinking": False, "reasoning_effort": "low", "extra": 1}
    assert client.engine.tokenizer.variables == [expected]
    unheard = chat(client_saying("ok"), reasoning_effort="high", user="u")
    assert unheard.headers["x-llmcore-warnings"] == "ignored: user, reasoning_effort"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


def prompt_end(client) -> str:
    return "".join(map(chr, client.engine.prompts[0])).rpartition("]")[2]


def test_a_form_reaches_the_engine():
    client = client_saying('{"a": 1}')
    (choice,) = chat(client, response_format=FORMAT).json()["choices"]
    assert choice["message"]["content"] == '{"a": 1}'
    structured = client.engine.params[0].structured
    assert (structured.kind, json.loads(structured.text)) == ("json_schema", SCHEMA)
    assert prompt_end(client) == ""
    chat(client, response_format={"type": "json_object"})
    assert client.engine.params[1].structured.kind == "json_object"
    chat(client)
    assert client.engine.params[2].structured is None


def test_an_answer_of_a_form_begins_behind_the_reasoning():
    client = client_saying("{}", "<think></think> enable_thinking")
    client.engine.tokenizer.thinks_at_once = True
    (choice,) = chat(client, response_format=FORMAT).json()["choices"]
    assert choice["message"]["content"] == "{}"
    assert prompt_end(client) == "<think>\n\n</think>\n\n"
    assert client.engine.tokenizer.variables == [{"enable_thinking": False}]
    channels = client_saying("{}", "<|channel|><|message|>")
    chat(channels, response_format=FORMAT)
    assert prompt_end(channels) == "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "clock"}}, "stop")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_forced_calls(choice, reason, stream):
    client = client_saying('{"name": "clock", "arguments": {"a": 1}}')
    answer = chat(client, tools=TOOLS, tool_choice=choice, stream=stream)
    assert prompt_end(client) == "<tool_call>\n"
    assert "clock" in client.engine.params[0].structured.text
    assert ("weather" in client.engine.params[0].structured.text) == (choice == "required")
    if stream:
        *chunks, _ = events(answer.text)
        fragments = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        assert "".join(call["function"]["arguments"] for call in fragments) == '{"a": 1}'
        assert chunks[-1]["choices"][0]["finish_reason"] == reason
    else:
        (made,) = answer.json()["choices"]
        assert made["message"]["content"] is None
        assert made["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": '{"a": 1}'}
        assert made["finish_reason"] == reason


@pytest.mark.parametrize("cut", [0, 1, 9, 14])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "clock"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_call_that_is_cut_before_its_name_says_nothing(choice, cut, stream):
    client = client_saying(' {"name": "clock", "arguments": {}}')
    answer = chat(client, tools=TOOLS, tool_choice=choice, max_tokens=cut + 1, stream=stream)
    if stream:
        *chunks, _ = events(answer.text)
        assert not any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    else:
        (made,) = answer.json()["choices"]
        assert made["message"] == {"role": "assistant", "content": None, "refusal": None}
        assert made["finish_reason"] == "length"


def test_names_and_arguments_of_half_characters_can_be_sent():
    text = '<tool_call>{"name": "a\\ud800", "arguments": "{\\"b\\ud800\\": 1}"}</tool_call>'
    (choice,) = chat(client_saying(text), tools=TOOLS).json()["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "a?", "arguments": '{"b?": 1}'}


STRICT = [{"type": "function", "function": {**CLOCK["function"], "strict": True}}]


def test_strict_tools_are_held_to_their_schema():
    """Where a call is forced, and where the model is free to call and writes calls between tags."""
    said = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    for client, choice in (
        (client_saying('{"name": "clock", "arguments": {}}'), "required"),
        (client_saying(said), "auto"),
        (client_saying("ok"), "auto"),
        (client_saying("ok", None, takes_tools=False), None),
    ):
        answer = chat(client, tools=STRICT, tool_choice=choice)
        assert "x-llmcore-warnings" not in answer.headers
        assert client.engine.params[0].structured is not None
    (called,) = chat(client_saying(said), tools=STRICT).json()["choices"]
    assert called["message"]["tool_calls"][0]["function"]["name"] == "clock"
    asked = {"input": "hi", "tools": [{"type": "function", **STRICT[0]["function"]}]}
    client = client_saying("ok")
    assert "x-llmcore-warnings" not in client.post("/v1/responses", asked).headers
    assert client.engine.params[0].structured is not None


def test_strict_tools_that_nobody_holds_to_their_schema_are_told():
    """Where calls have no tags, or tags that are control tokens, which a grammar does not reach."""
    marked = client_saying("ok")
    marked.engine.tokenizer.controls = {ord("\ue000"): "<tool_call>"}
    for client in (client_saying("ok", "a template"), client_saying("ok", "[TOOL_CALLS]"), marked):
        answer = chat(client, tools=STRICT)
        assert answer.headers["x-llmcore-warnings"] == "ignored: tools[0].function.strict"
        assert client.engine.params[0].structured is None
    assert chat(client_saying("ok"), tools=TOOLS).headers.get("x-llmcore-warnings") is None


@pytest.mark.parametrize(
    ("said", "content", "calls"),
    [
        ('{"a": 1}', '{"a": 1}', 0),
        ('<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>', None, 1),
    ],
)
def test_a_form_leaves_calls_possible(said, content, calls):
    client = client_saying(said)
    (choice,) = chat(client, response_format=FORMAT, tools=TOOLS).json()["choices"]
    assert choice["message"]["content"] == content
    assert len(choice["message"].get("tool_calls", ())) == calls
    structured = client.engine.params[0].structured
    assert structured.kind == "lark"
    assert "<tool_call>" in structured.text


def test_a_form_leaves_bare_calls_possible():
    client = client_saying('{"name": "clock", "parameters": {}}', "<|python_tag|>")
    (choice,) = chat(client, response_format=FORMAT, tools=TOOLS).json()["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "clock"
    schema = json.loads(client.engine.params[0].structured.text)
    assert len(schema["anyOf"]) == 3
    assert schema["$defs"]["answer"] == SCHEMA


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_grammar_refuses_names_its_parameter(stream):
    client = InProcessClient(FakeEngine(error=GrammarError("[grammar] no lookaround")))
    answer = client.post(CHAT, {"messages": HELLO, "response_format": FORMAT, "stream": stream})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("response_format", "invalid_json_schema")
    assert "lookaround" in error["message"]
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "stream": stream}
    assert client.post(CHAT, body).json()["error"]["param"] == "tools"


def test_functions_of_older_clients():
    client = client_saying(TWO_CALLS)
    functions = [tool["function"] for tool in TOOLS]
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "clock", "arguments": "{}"}},
        {"role": "function", "name": "clock", "content": "noon"},
    ]
    (choice,) = client.post(CHAT, {"messages": messages, "functions": functions}).json()["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "上海"}'}
    assert "tool_calls" not in choice["message"]
    call, result = json.loads("".join(map(chr, client.engine.prompts[0])))[1:]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert (result["role"], result["content"]) == ("tool", "noon")

    *chunks, _ = events(chat(client, functions=functions, stream=True).text)
    calls = [
        chunk["choices"][0]["delta"]["function_call"]
        for chunk in chunks
        if "function_call" in chunk["choices"][0]["delta"]
    ]
    assert [call["name"] for call in calls if "name" in call] == ["weather"]
    assert "".join(call["arguments"] for call in calls) == '{"city": "上海"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_a_function_that_older_clients_name():
    client = client_saying('{"name": "clock", "arguments": {}}')
    functions = [tool["function"] for tool in TOOLS]
    (choice,) = chat(client, functions=functions, function_call={"name": "clock"}).json()["choices"]
    assert choice["message"]["function_call"] == {"name": "clock", "arguments": "{}"}
    assert choice["finish_reason"] == "stop"
    for extra in ({"function_call": {"name": "x"}}, {"function_call": "must"}, {"tools": TOOLS}):
        answer = client.post(CHAT, {"messages": HELLO, "functions": functions, **extra})
        assert answer.status_code == 400
