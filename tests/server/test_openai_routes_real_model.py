"""The routes under `/v1` of a real process with the embedded model, mostly through OpenAI's own client."""

from __future__ import annotations

import openai
import pytest
from test_server_responses import named_events

from llmcore import LLM, SamplingParams

QUESTION = "What is llmcore?"
ASKED = [{"role": "user", "content": QUESTION}]
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def model():
    with LLM(threads=1) as loaded:
        yield loaded


def test_completions_are_the_engines(sdk, model):
    prompts = ["What is", "你好"]
    answer = sdk.completions.create(model="default", prompt=prompts, max_tokens=12, temperature=0)
    expected = model.generate(prompts, SamplingParams(max_tokens=12, temperature=0))
    assert [choice.text for choice in answer.choices] == [completion.text for completion in expected]
    assert answer.usage.prompt_tokens == sum(completion.usage.prompt_tokens for completion in expected)
    ids = [model.tokenize(prompt) for prompt in prompts]
    by_ids = sdk.completions.create(model="default", prompt=ids, max_tokens=12, temperature=0)
    assert [choice.text for choice in by_ids.choices] == [choice.text for choice in answer.choices]


def test_completions_echo_and_logprobs(sdk, model):
    answer = sdk.completions.create(
        model="default", prompt="What is 人工", max_tokens=6, temperature=0, logprobs=2, echo=True
    )
    (choice,) = answer.choices
    logprobs = choice.logprobs
    assert choice.text.startswith("What is 人工")
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        assert token.startswith("bytes:") or choice.text[offset:].startswith(token)
    assert all(len(top) in (2, 3) for top in logprobs.top_logprobs[1:])
    scored = sdk.completions.create(
        model="default", prompt="What is 人工", max_tokens=0, logprobs=2, echo=True
    )
    assert scored.choices[0].text == "What is 人工"
    assert scored.choices[0].logprobs.tokens == logprobs.tokens[: len(model.tokenize("What is 人工"))]


def test_completions_stream_the_same_text(sdk):
    body = {"model": "default", "prompt": ["What is", "你好"], "max_tokens": 24, "temperature": 0}
    whole = sdk.completions.create(**body)
    texts = ["", ""]
    for chunk in sdk.completions.create(stream=True, stream_options={"include_usage": True}, **body):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usage = chunk.usage
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


def test_best_of_and_suffix(sdk):
    answer = sdk.completions.create(model="default", prompt="What", max_tokens=8, n=2, best_of=4, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.completions.create(model="default", prompt="What", suffix="?")
    assert refused.value.param == "suffix"


def test_a_prompt_longer_than_the_context(sdk):
    for create in (
        lambda text: sdk.completions.create(model="default", prompt=text),
        lambda text: sdk.chat.completions.create(
            model="default", messages=[{"role": "user", "content": text}]
        ),
        lambda text: sdk.embeddings.create(model="default", input=text),
        lambda text: sdk.responses.create(model="default", input=text),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            create("What is it? " * 3000)
        assert refused.value.code == "context_length_exceeded"


def test_models(sdk):
    names = [one.id for one in sdk.models.list()]
    assert names == ["llmcore-default", "qwen-7b-chat"]
    assert sdk.models.retrieve("qwen-7b-chat").id == "qwen-7b-chat"
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.models.retrieve("owner/name:8b")
    assert unknown.value.code == "model_not_found"


def test_embeddings(sdk, model):
    texts = ["What is llmcore?", "你好"]
    # The client asks for base64 unless told otherwise.
    answer = sdk.embeddings.create(model="default", input=texts)
    expected = model.embed(texts)
    for item, vector in zip(answer.data, expected, strict=True):
        assert item.embedding == pytest.approx(vector.tolist(), abs=1e-3)
    floats = sdk.embeddings.create(model="default", input=texts, encoding_format="float", dimensions=8)
    assert [len(item.embedding) for item in floats.data] == [8, 8]
    assert sum(value**2 for value in floats.data[0].embedding) == pytest.approx(1.0)


def test_responses(sdk):
    answer = sdk.responses.create(model="default", input=QUESTION, temperature=0)
    chat = sdk.chat.completions.create(model="default", messages=ASKED, temperature=0)
    assert answer.output_text == chat.choices[0].message.content
    assert answer.usage.output_tokens == chat.usage.completion_tokens
    with sdk.responses.stream(model="default", input=QUESTION, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == answer.output_text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_tools_are_offered(sdk):
    """The embedded model calls none; what it is told of them costs tokens."""
    plain = sdk.chat.completions.create(model="default", messages=ASKED, temperature=0, max_tokens=4)
    offered = sdk.chat.completions.create(
        model="default", messages=ASKED, temperature=0, max_tokens=4, tools=[CLOCK]
    )
    assert offered.usage.prompt_tokens > plain.usage.prompt_tokens + 20


def test_messages(embedded, sdk):
    body = {"model": "default", "messages": ASKED, "max_tokens": 200, "temperature": 0}
    whole = embedded.post("/v1/messages", body).json()
    chat = sdk.chat.completions.create(model="default", messages=ASKED, temperature=0)
    assert whole["content"] == [{"type": "text", "text": chat.choices[0].message.content}]
    assert whole["stop_reason"] == "end_turn"
    received = named_events(embedded.post("/v1/messages", {**body, "stream": True}).text)
    text = "".join(event["delta"]["text"] for event in received if event["type"] == "content_block_delta")
    assert text == whole["content"][0]["text"]
    stopped = embedded.post("/v1/messages", {**body, "stop_sequences": ["zzz", "core"]}).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "core")
    counted = embedded.post("/v1/messages/count_tokens", {"model": "default", "messages": ASKED}).json()
    charged = whole["usage"]
    assert counted["input_tokens"] == charged["input_tokens"] + charged["cache_read_input_tokens"]


def test_tokenizer_routes(embedded, model):
    ids = embedded.post("/tokenize", {"content": "你好 llmcore"}).json()["tokens"]
    assert ids == model.tokenize("你好 llmcore", add_special=False)
    assert embedded.post("/detokenize", {"tokens": ids}).json()["content"] == "你好 llmcore"
    outside = embedded.post("/v1/detokenize", {"tokens": [2**31 - 1]})
    assert outside.status_code == 400
    rendered = embedded.post("/apply-template", {"messages": ASKED}).json()["prompt"]
    assert QUESTION in rendered
    assert rendered != QUESTION


def test_every_answer_names_what_its_bits_depend_on(sdk, model):
    fingerprint = model.model_info.system_fingerprint
    assert fingerprint
    asked = {"model": "default", "max_tokens": 2}
    answers = [
        sdk.chat.completions.create(messages=ASKED, **asked),
        sdk.completions.create(prompt="x", **asked),
        *sdk.chat.completions.create(messages=ASKED, stream=True, **asked),
        *sdk.completions.create(prompt="x", stream=True, stream_options={"include_usage": True}, **asked),
    ]
    assert len(answers) > 6
    assert {answer.system_fingerprint for answer in answers} == {fingerprint}


def test_candidates_that_best_of_leaves_are_counted(embedded):
    body = {"prompt": "The", "max_tokens": 5, "best_of": 3, "ignore_eos": True, "temperature": 1, "seed": 1}
    answer = embedded.post("/v1/completions", body).json()
    assert answer["usage"]["completion_tokens"] == 15


def test_a_message_that_has_begun_is_continued(embedded):
    whole = embedded.post("/v1/messages", {"messages": ASKED, "max_tokens": 60, "temperature": 0}).json()[
        "content"
    ][0]["text"]
    words = whole.split(" ")
    begun = " ".join(words[: len(words) // 2])
    messages = [*ASKED, {"role": "assistant", "content": begun}]
    rest = embedded.post("/v1/messages", {"messages": messages, "max_tokens": 60, "temperature": 0}).json()
    assert begun + rest["content"][0]["text"] == whole
