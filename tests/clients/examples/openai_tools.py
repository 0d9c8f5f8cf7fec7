"""The current openai: structured outputs and tools, whole and streaming."""

import json
from typing import Literal

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url="http://localhost:8000/v1", api_key="any")
ASKED = [{"role": "user", "content": "你好"}]
MODEL = "qwen-7b-chat"


class Colour(BaseModel):
    shade: Literal["light", "dark"]
    bright: bool


parsed = client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Colour)
assert isinstance(parsed.choices[0].message.parsed, Colour)
with client.chat.completions.stream(model=MODEL, messages=ASKED, response_format=Colour) as stream:
    assert isinstance(stream.get_final_completion().choices[0].message.parsed, Colour)
answered = client.responses.parse(model=MODEL, input="你好", text_format=Colour)
assert isinstance(answered.output_parsed, Colour)

tools = [openai.pydantic_function_tool(Colour, name="paint")]
called = client.chat.completions.parse(model=MODEL, messages=ASKED, tools=tools, tool_choice="required")
(call,) = called.choices[0].message.tool_calls
assert isinstance(call.function.parsed_arguments, Colour)

named = {"type": "function", "function": {"name": "paint"}}
chunks = client.chat.completions.create(
    model=MODEL, messages=ASKED, tools=tools, tool_choice=named, stream=True
)
fragments = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
assert [part.function.name for part in fragments if part.function.name] == ["paint"]
Colour(**json.loads("".join(part.function.arguments or "" for part in fragments)))

messages = [
    *ASKED,
    called.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"}),
    {"role": "tool", "tool_call_id": call.id, "content": "done"},
]
for one in messages[1]["tool_calls"]:
    one["function"].pop("parsed_arguments", None)
after = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, max_tokens=16)
assert after.choices[0].message.role == "assistant"
print("done")
