"""Finds a folder's tokenizer, in whichever of the formats it is, and reads it as a GGUF vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmcore.tokenizer_metadata import CONTROL, NORMAL
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.json_file import read_optional_json
from llmcore.tools.convert.sentencepiece_model import read_sentencepiece
from llmcore.tools.convert.special_tokens import Template, add_flags, add_special_tokens, chat_template
from llmcore.tools.convert.tiktoken_vocabulary import is_tiktoken, merges_of, read_ranks, spelled
from llmcore.tools.convert.tokenizer_json import add_token, vocabulary_of_json
from llmcore.tools.convert.vocabulary import Vocabulary, Warn, added_text
from llmcore.tools.convert.wordpiece import wordpiece_of_list

_FILES = ("tokenizer.model", "tokenizer.json", "qwen.tiktoken", "vocab.txt")
# Tokens that the models' own code adds behind their vocabularies, in this order.
_QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)))
_GLM_TOKENS = (
    "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop",
    "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
)  # fmt: skip
# What the first Qwen's own code writes around messages; its folder has no template.
_CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def read_tokenizer(
    folder: Path, config: Mapping[str, Any], n_tokens: int, warn: Warn
) -> tuple[Vocabulary, Template | None]:
    """The vocabulary, of `n_tokens` tokens, and the chat template where there is one.

    Raises ModelError if there is no tokenizer, or none that a GGUF file can hold.
    """
    model_type = str(config.get("model_type"))
    settings = read_optional_json(folder / "tokenizer_config.json")
    generation = read_optional_json(folder / "generation_config.json")
    template = chat_template(folder, settings)
    tokenizer = read_optional_json(folder / "tokenizer.json")
    pieces, ranks = folder / "tokenizer.model", folder / "qwen.tiktoken"
    has_ranks = pieces.is_file() and is_tiktoken(pieces)
    if ranks.is_file():
        vocabulary = _qwen(ranks, generation)
        if template is None and generation.get("chat_format") == "chatml":
            template = _CHATML
    elif has_ranks and model_type == "chatglm":
        vocabulary = _tiktoken(pieces, "chatglm-bpe", ())
    elif pieces.is_file() and not has_ranks:
        vocabulary = _sentencepiece(pieces, model_type, settings, warn)
    elif tokenizer:
        vocabulary = vocabulary_of_json(tokenizer, model_type, warn)
    elif (folder / "vocab.txt").is_file():
        vocabulary = wordpiece_of_list(folder / "vocab.txt", settings)
    else:
        raise unusable(f"{folder} has no tokenizer", expected=f"one of {', '.join(_FILES)}")
    _add_listed_tokens(folder, vocabulary, settings, tokenizer)
    vocabulary.fit(n_tokens, warn)
    add_special_tokens(vocabulary, config, settings, generation)
    add_flags(vocabulary, settings, tokenizer)
    _add_customs(vocabulary, model_type)
    return vocabulary, template


def _sentencepiece(path: Path, model_type: str, settings: Mapping[str, Any], warn: Warn) -> Vocabulary:
    model = read_sentencepiece(path)
    if not model.is_bpe:
        warn(f"{path.name} is a unigram model; text will be cut by its scores as merges, maybe less well")
    kinds = [piece.kind for piece in model.pieces]
    texts = [added_text(piece.text, piece.kind) for piece in model.pieces]
    vocabulary = Vocabulary("llama", "default", texts, kinds, [piece.score for piece in model.pieces])
    vocabulary.special_ids = model.ids
    wanted = settings.get("add_prefix_space")
    if model_type.startswith("gemma") or not model.add_dummy_prefix:
        vocabulary.add_space_prefix = False
    elif isinstance(wanted, bool):
        vocabulary.add_space_prefix = wanted
    if model_type == "chatglm":
        vocabulary.pre = "chatglm-spm"
        vocabulary.tokens[:3] = ["<unk>", "<bos>", "<eos>"][: len(texts)]
        _append(vocabulary, _GLM_TOKENS)
    return vocabulary


def _append(vocabulary: Vocabulary, names: Iterable[str]) -> None:
    for name in names:
        vocabulary.set_token(len(vocabulary.tokens), name, CONTROL)


def _tiktoken(path: Path, pre: str, controls: Iterable[str]) -> Vocabulary:
    ranks = read_ranks(path)
    words = [spelled(token) for token in sorted(ranks, key=ranks.__getitem__)]
    merges = [f"{spelled(left)} {spelled(right)}" for left, right in merges_of(ranks)]
    vocabulary = Vocabulary("gpt2", pre, words, [NORMAL] * len(words), merges=merges)
    _append(vocabulary, controls)
    return vocabulary


def _qwen(path: Path, generation: Mapping[str, Any]) -> Vocabulary:
    vocabulary = _tiktoken(path, "qwen2", _QWEN_TOKENS)
    end = vocabulary.find("<|endoftext|>")
    assert end is not None
    vocabulary.special_ids = {"bos": end, "eos": end, "unk": end}
    if generation.get("chat_format") == "chatml":
        vocabulary.special_ids["eot"] = end + _QWEN_TOKENS.index("<|im_end|>")
    vocabulary.adds = {"bos": False}
    return vocabulary


def _add_listed_tokens(
    folder: Path, vocabulary: Vocabulary, settings: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> None:
    """Tokens added behind the vocabulary: from the three places that list them, the surest last."""
    for text, token in read_optional_json(folder / "added_tokens.json").items():
        if isinstance(token, int) and token < len(vocabulary.tokens) and vocabulary.tokens[token] == text:
            continue
        add_token(vocabulary, token, text, special=False)
    listed = settings.get("added_tokens_decoder")
    for token, entry in listed.items() if isinstance(listed, Mapping) else ():
        if not isinstance(entry, Mapping) or not token.isdecimal() or len(token) > 9:
            raise unusable("entry of added_tokens_decoder in tokenizer_config.json", {token: entry})
        _add_or_rename(vocabulary, int(token), entry)
    if (folder / "tokenizer.model").is_file():
        added = tokenizer.get("added_tokens")
        for entry in added if isinstance(added, list) else []:
            if isinstance(entry, Mapping) and isinstance(entry.get("id"), int):
                _add_or_rename(vocabulary, entry["id"], entry)


def _add_or_rename(vocabulary: Vocabulary, token: int, entry: Mapping[str, Any]) -> None:
    add_token(vocabulary, token, entry.get("content"), entry.get("special") is True)


def _add_customs(vocabulary: Vocabulary, model_type: str) -> None:
    """What models' own code knows and their files do not say."""
    if vocabulary.model == "bert":
        vocabulary.adds.clear()  # [CLS] and [SEP] stand around every text
    if model_type in ("chatglm", "glm", "glm4"):
        # Their own code adds [gMASK] and sop through the chat template, and stops where the user would speak.
        vocabulary.adds["bos"] = False
        for role, name in (("eot", "<|user|>"), ("eom", "<|observation|>")):
            token = vocabulary.find(name)
            if token is not None:
                vocabulary.special_ids[role] = token
    if model_type.startswith("gemma"):
        token = vocabulary.find("<end_of_turn>")
        if token is not None:
            vocabulary.special_ids.setdefault("eot", token)
