"""The current openai: sync, async, streams, responses, embeddings and errors."""

import asyncio

import openai

BASE = "http://localhost:8000/v1"
HELLO = [{"role": "user", "content": "你好"}]
client = openai.OpenAI(base_url=BASE, api_key="any")

whole = client.chat.completions.create(model="qwen-7b-chat", messages=HELLO, temperature=0)
text = whole.choices[0].message.content
assert whole._request_id.startswith("req_")
chunks = client.chat.completions.create(model="qwen-7b-chat", messages=HELLO, temperature=0, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
with client.chat.completions.stream(model="qwen-7b-chat", messages=HELLO, temperature=0) as stream:
    message = stream.get_final_completion().choices[0].message
assert (message.role, message.content) == ("assistant", text)


async def asynchronous() -> None:
    async with openai.AsyncOpenAI(base_url=BASE, api_key="any") as other:
        answers = await asyncio.gather(
            *[
                other.chat.completions.create(model="qwen-7b-chat", messages=HELLO, temperature=0)
                for _ in range(3)
            ]
        )
        assert {answer.choices[0].message.content for answer in answers} == {text}
        pieces = await other.chat.completions.create(
            model="qwen-7b-chat", messages=HELLO, temperature=0, stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in pieces]) == text


asyncio.run(asynchronous())
assert client.responses.create(model="qwen-7b-chat", input="你好", temperature=0).output_text == text
with client.responses.stream(model="qwen-7b-chat", input="你好", temperature=0) as stream:
    assert stream.get_final_response().output_text == text
assert len(client.embeddings.create(model="qwen-7b-chat", input=["a", "b"]).data) == 2
assert client.models.retrieve("qwen-7b-chat").id == "qwen-7b-chat"
try:
    client.chat.completions.create(model="nobody", messages=HELLO)
except openai.NotFoundError as error:
    assert error.code == "model_not_found"
else:
    raise AssertionError("an unknown model was served")
print(text)
