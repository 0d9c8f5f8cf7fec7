"""langchain-openai: structured output and a forced tool."""

from typing import Literal

from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Colour(BaseModel):
    """A colour."""

    shade: Literal["light", "dark"]
    bright: bool


chat = ChatOpenAI(base_url="http://localhost:8000/v1", model="qwen-7b-chat")
for method in ("json_schema", "function_calling"):
    assert isinstance(chat.with_structured_output(Colour, method=method).invoke("你好"), Colour), method
(call,) = chat.bind_tools([Colour], tool_choice="required").invoke("你好").tool_calls
assert call["name"] == "Colour"
Colour(**call["args"])
print("done")
