"""Train the demonstration model on the generated corpus.

``python -m llmcore.default_model.train --out DIR --minutes 60 --resume`` needs torch, numpy and tokenizers.
The learning rate follows the time that is left, so the run ends well whatever the machine gives it, and a
checkpoint every few minutes lets ``--resume`` go on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from . import tokenizer_training
from .corpus import END_OF_TURN, START_OF_TURN, Dialogue, dialogues
from .network import Network, Shape, parameter_count
from .tokenizer_training import Vocabulary

TOKENIZER_SEED, TRAINING_SEED, HELD_BACK_SEED = 3, 101, 202
HELD_BACK_DIALOGUES = 1200
_TOKENIZER_DIALOGUES = 60_000
_VOCABULARY_SIZE = 4096
_PEAK_RATE, _LAST_RATE_SHARE, _WARM_UP_STEPS = 1.5e-3, 0.005, 200
_ENCODING_CHUNK = 4096


@dataclass(frozen=True)
class Rows:
    """Packed dialogues: tokens, and which of them the model is taught to say."""

    tokens: NDArray[np.uint16]
    taught: NDArray[np.bool_]


@dataclass(frozen=True)
class Options:
    """How to train."""

    out: Path
    minutes: float
    resume: bool
    dialogue_count: int
    rows_per_step: int
    precision: str
    steps: int | None
    checkpoint_minutes: float


def encode(tokenizer: Tokenizer, batch: list[Dialogue]) -> Iterator[tuple[list[int], list[bool]]]:
    """Turn dialogues into tokens; only answers and the ends of their turns are taught."""
    (start,), (end,) = tokenizer.encode(START_OF_TURN).ids, tokenizer.encode(END_OF_TURN).ids
    newline = tokenizer.encode("\n").ids
    headers = {role: [start, *tokenizer.encode(f"{role}\n").ids] for role in ("system", "user", "assistant")}
    contents = iter(tokenizer.encode_batch([message.content for made in batch for message in made]))
    for made in batch:
        tokens: list[int] = []
        taught: list[bool] = []
        for message, content in zip(made, islice(contents, len(made)), strict=True):
            header = headers[message.role]
            said = message.role == "assistant"
            tokens += [*header, *content.ids, end, *newline]
            taught += [False] * len(header) + [said] * (len(content.ids) + 1) + [False] * len(newline)
        yield tokens, taught


def pack(tokenizer: Tokenizer, seed: int, count: int, length: int) -> Rows:
    """Fill rows with whole dialogues, the last of each row cut where the row ends.

    A row looks like one long conversation, which also teaches the model to ignore what came before.
    """
    rows: list[NDArray[np.uint16]] = []
    marks: list[NDArray[np.bool_]] = []
    row: list[int] = []
    mark: list[bool] = []
    source = dialogues(seed, count)
    while batch := list(islice(source, _ENCODING_CHUNK)):
        for tokens, taught in encode(tokenizer, batch):
            row += tokens
            mark += taught
            if len(row) >= length:
                rows.append(np.asarray(row[:length], dtype=np.uint16))
                marks.append(np.asarray(mark[:length], dtype=np.bool_))
                row, mark = [], []
    return Rows(np.stack(rows), np.stack(marks))


def learn_vocabulary() -> Vocabulary:
    """Learn the tokenizer from dialogues of its own seed; the names of the roles become pieces, too."""
    texts = (
        f"{message.role} {message.role}\n{message.content}"
        for made in dialogues(TOKENIZER_SEED, _TOKENIZER_DIALOGUES)
        for message in made
    )
    return tokenizer_training.train(texts, _VOCABULARY_SIZE)


def _batch(rows: Rows, chosen: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(rows.tokens[chosen].astype(np.int64))
    taught = torch.from_numpy(rows.taught[chosen])
    return tokens[:, :-1].contiguous(), tokens[:, 1:], taught[:, 1:]


@torch.no_grad()
def held_back_loss(network: Network, rows: Rows) -> float:
    """Return the mean loss of the taught tokens."""
    total, count = 0.0, 0
    for first in range(0, len(rows.tokens), 16):
        chosen = np.arange(first, min(first + 16, len(rows.tokens)))
        inputs, targets, taught = _batch(rows, chosen)
        scores = network.scores(network(inputs)[taught]).float()
        total += float(functional.cross_entropy(scores, targets[taught], reduction="sum"))
        count += int(taught.sum())
    return total / count


def _rate(step: int, share_of_time: float) -> float:
    """A short warm-up in steps, then half a cosine in time."""
    fall = 0.5 * (1 + math.cos(math.pi * min(share_of_time, 1.0)))
    scale = _LAST_RATE_SHARE + (1 - _LAST_RATE_SHARE) * fall
    return _PEAK_RATE * min(1.0, (step + 1) / _WARM_UP_STEPS) * scale


class Training:
    """A run of training: the network, the optimizer and how far it has come."""

    def __init__(self, options: Options) -> None:
        self.options = options
        options.out.mkdir(parents=True, exist_ok=True)
        vocabulary_file = options.out / "vocabulary.json"
        if not (options.resume and vocabulary_file.exists()):
            learn_vocabulary().save(vocabulary_file)
        vocabulary = Vocabulary.load(vocabulary_file)
        tokenizer = tokenizer_training.build(vocabulary)
        self.shape = Shape(vocabulary=len(vocabulary.pieces))
        length = self.shape.context + 1
        self.rows = pack(tokenizer, TRAINING_SEED, options.dialogue_count, length)
        self.held_back = pack(tokenizer, HELD_BACK_SEED, HELD_BACK_DIALOGUES, length)
        torch.manual_seed(1)
        self.network = Network(self.shape)
        matrices = [parameter for parameter in self.network.parameters() if parameter.dim() == 2]
        norms = [parameter for parameter in self.network.parameters() if parameter.dim() != 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
            lr=_PEAK_RATE,
            betas=(0.9, 0.95),
            fused=True,
        )
        self.step, self.seconds = 0, 0.0
        if options.resume and self._checkpoint.exists():
            saved = torch.load(self._checkpoint, weights_only=True)
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.seconds = saved["step"], saved["seconds"]

    @property
    def _checkpoint(self) -> Path:
        return self.options.out / "checkpoint.pt"

    def _save(self) -> None:
        """Write the checkpoint under another name first, so that an interruption never leaves half of it."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shape": asdict(self.shape),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self._checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _log(self, **figures: float) -> None:
        line = json.dumps({"step": self.step, "seconds": round(self.seconds), **figures})
        with (self.options.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def _chosen(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step: every epoch is shuffled by its own number, also after a resume."""
        per_epoch = len(self.rows.tokens) // self.options.rows_per_step
        epoch, at = divmod(step, per_epoch)
        order = np.random.default_rng(epoch).permutation(len(self.rows.tokens))
        size = self.options.rows_per_step
        return order[at * size : (at + 1) * size]

    def run(self) -> None:
        """Train until the time or the steps are used up."""
        options = self.options
        budget = options.minutes * 60
        started, before = time.monotonic(), self.seconds
        last_save = last_log = self.seconds
        self._log(parameters=parameter_count(self.network), rows=len(self.rows.tokens))
        while self.seconds < budget and (options.steps is None or self.step < options.steps):
            rate = _rate(self.step, self.seconds / budget)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            inputs, targets, taught = _batch(self.rows, self._chosen(self.step))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bf16"):
                scores = self.network.scores(self.network(inputs)[taught])
            loss = functional.cross_entropy(scores.float(), targets[taught])
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.seconds = before + time.monotonic() - started
            if self.seconds - last_log >= 20:
                last_log = self.seconds
                tokens = self.step * options.rows_per_step * self.shape.context
                self._log(loss=round(loss.item(), 4), rate=rate, tokens=tokens)
            if self.seconds - last_save >= options.checkpoint_minutes * 60:
                last_save = self.seconds
                self._save()
        held_back = held_back_loss(self.network, self.held_back)
        tokens = self.step * options.rows_per_step * self.shape.context
        self._log(loss=round(loss.item(), 4), held_back_loss=round(held_back, 4), tokens=tokens, finished=1)
        self._save()


def main() -> None:
    """Train the model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and the log are kept")
    parser.add_argument("--minutes", type=float, default=60.0, help="time to train")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--dialogues", type=int, default=350_000, help="size of the corpus")
    parser.add_argument("--rows", type=int, default=8, help="rows of 256 tokens a step")
    parser.add_argument("--precision", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--steps", type=int, default=None, help="stop after this many steps, for a trial")
    parser.add_argument("--checkpoint-minutes", type=float, default=3.0)
    given = parser.parse_args()
    options = Options(
        out=given.out,
        minutes=given.minutes,
        resume=given.resume,
        dialogue_count=given.dialogues,
        rows_per_step=given.rows,
        precision=given.precision,
        steps=given.steps,
        checkpoint_minutes=given.checkpoint_minutes,
    )
    Training(options).run()


if __name__ == "__main__":
    main()
