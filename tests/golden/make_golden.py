"""Writes the golden logits of every tiny model: transformers in float64 on the CPU.

Usage: python make_golden.py [NAME...], all models by default. Needs torch and transformers, which the tests
do not; made with torch 2.13 and transformers 5.23. Every float32 that transformers' code asks for is made a
float64, so that what a file holds is exact to its last bit or so.

A golden sequence is N_PROMPT fixed tokens and what the model itself chooses greedily after them, so that
generation can be compared as well. A file holds the sequence, its logits (n_tokens, n_vocab) as float32, and
the fingerprint of the model they belong to.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hf_layout import config_of, state_dict_of
from published_code import chatglm3_logits, qwen_logits
from tiny_files import fingerprint
from tiny_models import MODELS, N_PROMPT, N_TOKENS, TinyModel, prompt_ids, tensors
from transformers import AutoModel, AutoModelForCausalLM, logging
from transformers.modeling_outputs import CausalLMOutput

HERE = Path(__file__).resolve().parent
# In logits. Approximate kernels must not change which experts are chosen, nor exact ones which tokens.
MIN_EXPERT_MARGIN = 0.01
MIN_TOKEN_MARGIN = 0.002

Logits = Callable[[list[int]], np.ndarray]


@contextlib.contextmanager
def float64_for_float32() -> Iterator[None]:
    """Makes torch's names of float32 stand for float64, for code that asks for float32 by name."""
    single, to_single = torch.float32, torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32 = torch.float = single
        torch.Tensor.float = to_single
        torch.set_default_dtype(single)


class _TextWithHead(torch.nn.Module):
    """The part of a model for images and text that reads text."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config)
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, ids: Any, use_cache: bool) -> Any:
        hidden = self.model(input_ids=ids, use_cache=use_cache).last_hidden_state
        return CausalLMOutput(logits=self.lm_head(hidden))


def transformers_model(model: TinyModel) -> Any:
    """The transformers model with the tiny model's weights, every parameter set."""
    config = config_of(model)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    network = (
        _TextWithHead(config) if "_vl" in model.family else AutoModelForCausalLM.from_config(config)
    ).eval()
    state = {name: torch.from_numpy(values) for name, values in state_dict_of(model).items()}
    expected = dict(network.named_parameters())
    if set(state) != set(expected):
        raise SystemExit(f"{model.name}: parameters differ: {sorted(set(state) ^ set(expected))}")
    with torch.no_grad():
        for name, parameter in expected.items():
            if parameter.shape != state[name].shape or parameter.dtype != torch.float64:
                raise SystemExit(f"{model.name}: {name}: {parameter.shape}, {state[name].shape}")
            parameter.copy_(state[name])
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and buffer.dtype != torch.float64:
            raise SystemExit(f"{model.name}: buffer {name} is {buffer.dtype}")
    return network


def logits_function(model: TinyModel, margins: list[float]) -> Logits:
    """Computes the logits of a sequence; appends how clearly its experts were chosen to `margins`."""
    published = {"qwen": qwen_logits, "chatglm3": chatglm3_logits}.get(model.family)
    if published is not None:
        weights = tensors(model)
        return lambda ids: published(model, weights, ids)
    network = transformers_model(model)
    if model.experts is not None:
        _watch_routers(network, model.experts.n_used, margins)

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return network(torch.tensor([ids]), use_cache=False).logits[0].numpy()

    return logits


def _watch_routers(network: Any, n_used: int, margins: list[float]) -> None:
    def watch(_module: Any, _inputs: Any, output: Any) -> None:
        scores = output[0].reshape(-1, output[0].shape[-1]).sort(dim=-1, descending=True).values
        margins.append(float((scores[:, n_used - 1] - scores[:, n_used]).min()))

    routers = [module for module in network.modules() if type(module).__name__.endswith("TopKRouter")]
    if not routers:
        raise SystemExit("no router found")
    for router in routers:
        router.register_forward_hook(watch)


def golden(model: TinyModel) -> tuple[list[int], np.ndarray]:
    """The golden sequence of a model and its logits. Raises SystemExit if a choice in it is too close."""
    margins: list[float] = []
    logits = logits_function(model, margins)
    ids = prompt_ids()
    while len(ids) < N_TOKENS:
        row = logits(ids)[-1]
        second, first = np.sort(row)[-2:]
        if first - second < MIN_TOKEN_MARGIN:
            raise SystemExit(f"{model.name}: token {len(ids)} is not clear: {first - second}")
        ids.append(int(row.argmax()))
    margins.clear()
    values = logits(ids)
    if margins and min(margins) < MIN_EXPERT_MARGIN:
        raise SystemExit(f"{model.name}: experts are not clear: {min(margins)}")
    if values.shape[0] != N_TOKENS or not np.isfinite(values).all() or values.std() < 1.0:
        raise SystemExit(f"{model.name}: logits {values.shape}, deviation {values.std()}")
    return ids, values


def main(names: list[str]) -> None:
    logging.set_verbosity_error()
    for model in MODELS:
        if names and model.name not in names:
            continue
        with float64_for_float32():
            ids, values = golden(model)
        np.savez_compressed(
            HERE / f"{model.name}.npz",
            ids=np.array(ids, np.int32),
            logits=values.astype(np.float32),
            fingerprint=np.array(fingerprint(model, ids)),
        )
        print(f"{model.name}: {N_PROMPT}+{N_TOKENS - N_PROMPT} tokens, deviation {values.std():.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
