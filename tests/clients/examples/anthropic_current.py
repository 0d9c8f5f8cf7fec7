"""Anthropic's client: messages, streams and token counts."""

import anthropic

# Every answer and event is held to the client's own types, which it leaves out by default.
client = anthropic.Anthropic(
    base_url="http://localhost:8000", api_key="any", _strict_response_validation=True
)
HELLO = [{"role": "user", "content": "你好"}]
options = {"model": "qwen-7b-chat", "messages": HELLO, "max_tokens": 200, "extra_body": {"temperature": 0}}

whole = client.messages.create(**options)
text = whole.content[0].text
assert whole.stop_reason == "end_turn"
with client.messages.stream(**options) as stream:
    assert "".join(stream.text_stream) == text
    assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens
counted = client.messages.count_tokens(model="qwen-7b-chat", messages=HELLO)
assert counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens
try:
    client.messages.create(**{**options, "model": "nobody"})
except anthropic.NotFoundError as error:
    assert "nobody" in str(error)
else:
    raise AssertionError("an unknown model was served")
print(text)
