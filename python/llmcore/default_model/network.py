"""The network of the demonstration model in torch: a small Llama, only needed to train it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of the network. Every width is a multiple of 32, the block length of Q8_0."""

    vocabulary: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 2
    hidden: int = 704
    context: int = 256
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Return the width of one attention head."""
        return self.width // self.heads


def rotation(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the rotary position embedding, one row a position."""
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float32), shape.rope_base**-exponents)
    return angles.cos(), angles.sin()


def rotate(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate pairs of neighbours (x[2i], x[2i+1]), the order of the GGUF architecture ``llama``."""
    even, odd = states[..., 0::2], states[..., 1::2]
    turned = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return turned.flatten(-2).to(states.dtype)


class Attention(nn.Module):
    """Causal attention in which groups of heads share their keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        shared = shape.key_value_heads * shape.head_width
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shared, bias=False)
        self.value = nn.Linear(shape.width, shared, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Mix every position with those before it."""
        rows, length, _ = states.shape
        shape = self.shape

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(rows, length, heads, shape.head_width).transpose(1, 2)

        query = rotate(split(self.query(states), shape.heads), cosines, sines)
        key = rotate(split(self.key(states), shape.key_value_heads), cosines, sines)
        value = split(self.value(states), shape.key_value_heads)
        group = shape.heads // shape.key_value_heads
        mixed = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, dim=1),
            value.repeat_interleave(group, dim=1),
            is_causal=True,
        )
        joined: Tensor = self.output(mixed.transpose(1, 2).reshape(rows, length, shape.width))
        return joined


class Block(nn.Module):
    """One layer: attention and a gated feed-forward part, each behind a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Run the layer."""
        states = states + self.attention(self.attention_norm(states), cosines, sines)
        fed = self.feed_norm(states)
        after: Tensor = states + self.down(functional.silu(self.gate(fed)) * self.up(fed))
        return after


class Network(nn.Module):
    """The whole network; the embedding also serves as the output matrix."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        cosines, sines = rotation(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # The two matrices that add to the residual stream start smaller, the deeper the network.
                adds = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if adds else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the final states of all positions."""
        length = tokens.shape[1]
        states: Tensor = self.embedding(tokens)
        for block in self.blocks:
            states = block(states, self.cosines[:length], self.sines[:length])
        normed: Tensor = self.norm(states)
        return normed

    def scores(self, states: Tensor) -> Tensor:
        """Return a score for every token of the vocabulary."""
        return functional.linear(states, self.embedding.weight)


def parameter_count(network: Network) -> int:
    """Count the weights, the shared embedding once."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def reply(
    network: Network,
    prompt: list[int],
    end: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[list[int], bool]:
    """Continue a prompt; return the tokens and whether the end token came before the context was full."""
    tokens = list(prompt)
    while len(tokens) < network.shape.context:
        scores = network.scores(network(torch.tensor([tokens]))[0, -1]).float()
        if temperature > 0:
            chances = torch.softmax(scores / temperature, dim=-1)
            chosen = int(torch.multinomial(chances, 1, generator=generator))
        else:
            chosen = int(scores.argmax())
        if chosen == end:
            return tokens[len(prompt) :], True
        tokens.append(chosen)
    return tokens[len(prompt) :], False
