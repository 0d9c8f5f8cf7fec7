"""The current openai with its own check of every answer and event against its types, off by default.

What OpenAI itself answers otherwise than the types say is left out: null as a chunk's finish reason and as
the first log-probability of an echo in completions, and embeddings in base64.
"""

import openai

client = openai.OpenAI(
    base_url="http://localhost:8000/v1", api_key="any", _strict_response_validation=True, max_retries=0
)
MODEL = "qwen-7b-chat"
ASKED = [{"role": "user", "content": "你好"}]
SCHEMA = {
    "type": "object",
    "properties": {"shade": {"enum": ["light", "dark"]}},
    "required": ["shade"],
    "additionalProperties": False,
}
PAINT = {"name": "paint", "description": "Paints.", "parameters": SCHEMA, "strict": True}
TOOLS = [{"type": "function", "function": PAINT}]
FORM = {"name": "colour", "schema": SCHEMA, "strict": True}

for asked in (
    {},
    {"max_tokens": 2},
    {"n": 2, "logprobs": True, "top_logprobs": 2},
    {"tools": TOOLS},
    {"tools": TOOLS, "tool_choice": "required", "n": 2, "logprobs": True},
    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "paint"}}},
    {"functions": [PAINT], "function_call": {"name": "paint"}},
    {"response_format": {"type": "json_schema", "json_schema": FORM}},
):
    options = {"model": MODEL, "messages": ASKED, "max_tokens": 60, **asked}
    whole = client.chat.completions.create(**options)
    assert len(whole.choices) == asked.get("n", 1)
    chunks = list(
        client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].usage.total_tokens > 0

for asked in ({"prompt": ["你好", "Hello"], "n": 2}, {"prompt": [5, 6, 7], "logprobs": 2}):
    assert client.completions.create(model=MODEL, max_tokens=3, **asked).usage.completion_tokens > 0

FUNCTION = {"type": "function", **PAINT}
for asked in (
    {"instructions": "Be kind.", "metadata": {"a": "b"}},
    {"max_output_tokens": 2},
    {"tools": [FUNCTION], "tool_choice": "required"},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "paint"}},
    {"text": {"format": {"type": "json_schema", **FORM}}},
):
    options = {"model": MODEL, "input": "你好", "max_output_tokens": 60, **asked}
    assert client.responses.create(**options).status in ("completed", "incomplete")
    events = list(client.responses.create(**options, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type in ("response.completed", "response.incomplete")

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL
assert client.embeddings.create(model=MODEL, input="你好", encoding_format="float").data[0].embedding
print("done")
