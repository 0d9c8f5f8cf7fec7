"""requests, reading a stream line by line as text."""

import json

import requests

answer = requests.post(
    "http://localhost:8000/api/v1/generate/stream",
    json={"prompt": "你好", "max_tokens": 64},
    stream=True,
    timeout=60,
)
lines = [line for line in answer.iter_lines(decode_unicode=True) if line]
events = [json.loads(line.removeprefix("data: ")) for line in lines]
assert [event["finished"] for event in events] == [False] * (len(events) - 1) + [True]
print("".join(event["token"] for event in events))
