"""`llmcore serve` processes with real models: a tiny trained one, a slow one, the embedded one."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from served_process import REAL_SERVER, ServedProcess, events, send_raw

from llmcore import LLM, SamplingParams
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

GENERATE = "/api/v1/generate"
STREAM = "/api/v1/generate/stream"
CHAT = "/v1/chat/completions"
STORY = {"prompt": "Once upon a time", "max_tokens": 60, "temperature": 0}
HELLO = [{"role": "user", "content": "你好"}]


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A server whose answers take seconds, so that they can be interrupted."""
    path = tmp_path_factory.mktemp("models") / "slow.gguf"
    synthesize(path, Shape("llama", 512, 8, 8, 4, 64, 1536, 4000, 8192), "F16")
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", str(path)])
    yield process
    process.stop()


def test_health_and_models(served):
    served.post(GENERATE, STORY)
    health = served.client.get("/health").json()
    assert health["status"] == "healthy"
    assert health["model_loaded"] is True
    (model,) = served.client.get("/api/v1/models").json()["models"]
    assert model["name"] == "stories260K"
    assert model["loaded"] is True
    assert model["size"] == "1.1MB"


def test_answer_is_the_engines(served, stories_model):
    answer = served.post(GENERATE, STORY).json()
    with LLM(stories_model, threads=1) as model:
        params = SamplingParams(max_tokens=60, temperature=0)
        (expected,) = model.generate([STORY["prompt"]], params)
    assert answer["text"] == expected.text
    assert answer["usage"]["completion_tokens"] == 60
    assert answer["usage"]["prompt_tokens"] == expected.usage.prompt_tokens
    assert 0 < answer["latency"] < 30


def test_stream_is_the_same_text_in_paced_events(slow):
    body = {"prompt": "hello", "max_tokens": 500, "temperature": 0, "ignore_eos": True}
    whole = slow.post(GENERATE, body).json()["text"]
    received, times = [], []
    with slow.stream(STREAM, body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        for chunk in response.iter_raw():
            times.append(time.monotonic())
            received.append(json.loads(chunk.decode().removeprefix("data: ")))
    assert "".join(event["token"] for event in received) == whole
    assert [event["finished"] for event in received] == [False] * (len(received) - 1) + [True]
    assert len(times) > 5
    assert (times[-1] - times[0]) / (len(times) - 1) >= 0.028


def test_two_requests_at_once_answer_as_alone(served):
    bodies = [STORY, {**STORY, "prompt": "Lily and Ben went to the park"}]
    alone = [served.post(GENERATE, body).json()["text"] for body in bodies]
    with ThreadPoolExecutor(2) as pool:
        together = [
            answer.json()["text"] for answer in pool.map(lambda body: served.post(GENERATE, body), bodies)
        ]
    assert together == alone
    assert alone[0] != alone[1]


def test_stop_string_and_limits(served):
    answer = served.post(GENERATE, {**STORY, "stop": ["Lily"]}).json()
    assert answer["text"]
    assert "Lily" not in answer["text"]
    long = served.post(GENERATE, {**STORY, "prompt": "Once upon a time " * 500})
    assert long.status_code == 400
    assert long.json()["error"]["code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert served.post(STREAM, {**STORY, "prompt": "Once upon a time " * 500}).status_code == 400


def test_chat_needs_a_template(served):
    answer = served.post(CHAT, {"messages": HELLO})
    assert answer.status_code == 400
    assert "chat template" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_disconnect_ends_every_prompt_of_a_list(slow, stream):
    cancelled = slow.metric("llmcore_requests_cancelled_total")
    body = {"prompt": ["a", "b", "c"], "n": 2, "max_tokens": 8000, "ignore_eos": True, "stream": stream}
    connection = send_raw(slow, "/v1/completions", body)
    slow.wait_for_metric("llmcore_requests_running", 6)
    connection.close()
    slow.wait_for_metric("llmcore_requests_cancelled_total", cancelled + 3, limit=2.0)
    slow.wait_for_metric("llmcore_requests_running", 0, limit=5.0)
    slow.wait_for_metric("llmcore_kv_blocks_free", slow.metric("llmcore_kv_blocks"), limit=5.0)


def test_disconnect_ends_embeddings(slow):
    connection = send_raw(slow, "/v1/embeddings", {"input": ["hello " * 300] * 200})
    deadline = time.monotonic() + 10
    while not slow.metric("llmcore_requests_running"):
        assert time.monotonic() < deadline
    connection.close()
    slow.wait_for_metric("llmcore_requests_waiting", 0, limit=2.0)
    slow.wait_for_metric("llmcore_requests_running", 0, limit=5.0)
    slow.wait_for_metric("llmcore_kv_blocks_free", slow.metric("llmcore_kv_blocks"), limit=5.0)


def test_terminated_while_generating_exits_clean(stories_model):
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", str(stories_model)])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(process.post, GENERATE, STORY)
        assert answer.result().status_code == 200
    assert process.stop() == 0


def test_first_token_within_three_seconds_of_the_command(stories_model):
    seconds = []
    for _ in range(2):
        process = ServedProcess(REAL_SERVER, ["--port", "0", str(stories_model)])
        with process.stream(STREAM, STORY) as response:
            next(response.iter_raw())
        seconds.append(time.monotonic() - process.started_at)
        assert process.stop() == 0
    assert min(seconds) < 3.0


def test_models_dir_and_aliases(stories_model):
    arguments = ["--models-dir", str(stories_model.parent), "--alias", "gpt-3.5-turbo=stories260K"]
    process = ServedProcess(REAL_SERVER, ["--port", "0", *arguments, "stories260K"])
    names = [model["id"] for model in process.client.get("/v1/models").json()["data"]]
    assert names[0] == "stories260K"
    assert "gpt-3.5-turbo" in names
    assert process.post(GENERATE, {**STORY, "model": "gpt-3.5-turbo"}).status_code == 200
    assert process.stop() == 0


def test_embedded_model_speaks_chinese_in_whole_characters(embedded):
    body = {"prompt": "你好", "max_tokens": 48, "temperature": 0}
    whole = embedded.post(GENERATE, body).json()["text"]
    assert any("\u4e00" <= character <= "\u9fff" for character in whole)
    with embedded.stream(STREAM, body) as response:
        received = events("".join(chunk.decode() for chunk in response.iter_raw()))
    assert "".join(event["token"] for event in received) == whole


def test_openai_client_plain(sdk):
    answer = sdk.chat.completions.create(model="default", messages=HELLO, max_tokens=32, temperature=0)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")


def test_openai_client_streaming(sdk):
    whole = sdk.chat.completions.create(model="default", messages=HELLO, max_tokens=32, temperature=0)
    chunks = list(
        sdk.chat.completions.create(
            model="default",
            messages=HELLO,
            max_tokens=32,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_client_accumulates_a_stream(sdk):
    with sdk.chat.completions.stream(model="default", messages=HELLO, temperature=0) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].message.content


def test_openai_client_logprobs(sdk):
    answer = sdk.chat.completions.create(
        model="default", messages=HELLO, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert content
    for token in content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob


def test_openai_client_errors(sdk):
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.chat.completions.create(model="nobody", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(model="default", messages=HELLO, temperature=5)
    assert bad.value.param == "temperature"


def test_sampled_answers_follow_the_seed(served):
    def answer(seed):
        return served.post(GENERATE, {**STORY, "temperature": 1.5, "seed": seed}).json()["text"]

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(4)}) > 1
