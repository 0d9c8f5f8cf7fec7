"""openai 0.28: engines in the path, streams, completions, embeddings, models and errors."""

import openai

openai.api_base = "http://localhost:8000/v1"
openai.api_key = "any-key"
HELLO = [{"role": "user", "content": "你好"}]

whole = openai.ChatCompletion.create(engine="qwen-7b-chat", messages=HELLO, temperature=0)
text = whole.choices[0].message.content
chunks = list(openai.ChatCompletion.create(model="qwen-7b-chat", messages=HELLO, temperature=0, stream=True))
assert "".join(chunk.choices[0].delta.get("content", "") for chunk in chunks) == text
assert [chunk.choices[0].delta.get("role") for chunk in chunks].count("assistant") == 1
assert chunks[-1].choices[0].finish_reason == "stop"

completion = openai.Completion.create(engine="qwen-7b-chat", prompt=["What is", "你好"], max_tokens=8, n=2)
assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
vector = openai.Embedding.create(model="qwen-7b-chat", input="你好").data[0].embedding
assert len(vector) > 8
assert abs(sum(value * value for value in vector) - 1) < 1e-3
assert "qwen-7b-chat" in [model.id for model in openai.Model.list().data]
assert openai.Model.retrieve("qwen-7b-chat").id == "qwen-7b-chat"

for wrong, error in (
    ({"model": "nobody"}, openai.error.InvalidRequestError),
    ({"model": "qwen-7b-chat", "temperature": 9}, openai.error.InvalidRequestError),
):
    try:
        openai.ChatCompletion.create(messages=HELLO, **wrong)
    except error as refused:
        assert refused.param in ("model", "temperature"), refused.param
    else:
        raise AssertionError(f"{wrong} was served")
print(text)
