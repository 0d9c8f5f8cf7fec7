"""Which structs describe the answer of which route, and the events of its stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmcore_server import answers
from llmcore_server.errors import is_anthropic_path, is_openai_path
from llmcore_server.v1_answers import chat, completion, embedding, errors, messages, models, responses
from llmcore_server.v1_answers import tokenization as tokens
from llmcore_server.v1_answers.chat_stream import ChatChunk, ChatUsageChunk
from llmcore_server.v1_answers.completion_stream import CompletionChunk, CompletionUsageChunk
from llmcore_server.v1_answers.messages_stream import MessageEvent
from llmcore_server.v1_answers.responses_stream import ResponseEvent

# By method and path; what lies under /api/v1 is named without it.
_ANSWERS: Mapping[tuple[str, str], tuple[str, Any]] = {
    ("get", "/health"): ("State, memory, open connections", answers.Health),
    ("get", "/health/live"): ("Whether the process serves", answers.Condition),
    ("get", "/health/ready"): ("Whether its models have made a step", answers.Condition),
    ("post", "/generate"): ("A text for a prompt", answers.GenerateAnswer),
    ("post", "/generate/stream"): ("A text for a prompt, as server-sent events", None),
    ("post", "/batch/generate"): ("Texts for several prompts, run together", answers.BatchAnswer),
    ("get", "/models"): ("The models this server knows", answers.ModelList),
    ("get", "/models/{name}"): ("One model and its state", answers.ModelDetail),
    ("post", "/models/{name}/load"): ("Load a model", answers.LoadAnswer),
    ("post", "/models/{name}/adapters"): ("Load a LoRA adapter", answers.ModelDetail),
    ("delete", "/models/{name}/adapters/{adapter}"): ("Free a LoRA adapter", answers.ModelDetail),
    ("post", "/models/{name}/unload"): ("Free a model's memory", answers.ModelDetail),
    ("get", "/v1/models"): ("The names that a request may ask for", models.ServedModels),
    ("get", "/v1/models/{name}"): ("The model of a name", models.ServedModel),
    ("post", "/v1/chat/completions"): ("Answers to a conversation", chat.ChatCompletion),
    ("post", "/v1/completions"): ("Continuations of raw prompts", completion.Completion),
    ("post", "/v1/embeddings"): ("A vector a text", embedding.EmbeddingList),
    ("post", "/v1/responses"): ("An answer to a conversation, as items", responses.ResponseObject),
    ("post", "/v1/messages"): ("An answer to a conversation, as Anthropic's", messages.AnsweredMessage),
    ("post", "/v1/messages/count_tokens"): ("The length of a conversation", messages.InputTokens),
    ("get", "/v1/engines"): ("The models, as openai before 1.0 lists them", models.ListedEngines),
    ("get", "/v1/engines/{path}"): ("One model, as openai before 1.0", models.ServedEngine),
    ("post", "/v1/engines/{path}"): (
        "chat/completions, completions or embeddings of the model that the path begins with",
        chat.ChatCompletion | completion.Completion | embedding.EmbeddingList,
    ),
    ("post", "/tokenize"): ("The tokens of a text or a conversation", tokens.TokenList),
    ("post", "/detokenize"): ("The text of tokens", tokens.TokenText),
    ("post", "/apply-template"): ("A conversation as the model reads it", tokens.RenderedPrompt),
}
# What the streams carry, each event one of these; those of routes that answer whole, too, are asked for with
# "stream": true.
_EVENTS: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("post", "/generate"): (answers.TokenEvent,),
    ("post", "/generate/stream"): (answers.TokenEvent,),
    ("post", "/v1/chat/completions"): (ChatChunk, ChatUsageChunk, errors.OpenAIErrorAnswer),
    ("post", "/v1/completions"): (CompletionChunk, CompletionUsageChunk, errors.OpenAIErrorAnswer),
    ("post", "/v1/responses"): (ResponseEvent,),
    ("post", "/v1/messages"): (MessageEvent,),
    ("post", "/v1/engines/{path}"): (
        ChatChunk,
        ChatUsageChunk,
        CompletionChunk,
        CompletionUsageChunk,
        errors.OpenAIErrorAnswer,
    ),
}
_AT_TWO_PLACES = frozenset({"/v1/tokenize", "/v1/detokenize", "/v1/apply-template"})


def described_answer(method: str, path: str) -> tuple[str, Any] | None:
    """Return an operation's summary and what it answers; None where that is no JSON. Parameters in ``path``
    are written without what they may hold."""
    return _ANSWERS.get((method, _short(path)))


def described_events(method: str, path: str) -> tuple[Any, ...]:
    """Return what an event of an operation's stream is, one of these; none where it never streams."""
    return _EVENTS.get((method, _short(path)), ())


def error_answer(path: str) -> Any:
    """Return what every refusal of a path is."""
    if is_anthropic_path(path):
        return errors.AnthropicErrorAnswer
    return errors.OpenAIErrorAnswer if is_openai_path(path) else answers.ErrorAnswer


def all_answers() -> Iterator[Any]:
    """Yield every type that an answer, or an event, may have."""
    yield from (answers.ErrorAnswer, errors.OpenAIErrorAnswer, errors.AnthropicErrorAnswer)
    yield from (answer for _, answer in _ANSWERS.values() if answer is not None)
    for events in _EVENTS.values():
        yield from events


def _short(path: str) -> str:
    return path.removeprefix("/v1") if path in _AT_TWO_PLACES else path.removeprefix("/api/v1")
