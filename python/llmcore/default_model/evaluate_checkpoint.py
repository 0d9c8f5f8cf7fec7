"""Ask the checkpoint of a training run the one hundred questions, with torch.

``python -m llmcore.default_model.evaluate_checkpoint --out DIR`` prints every reply, the figures, and the
perplexity of held-back dialogues. ``--ask`` asks a question of one's own instead.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch

from . import tokenizer_training
from .corpus import END_OF_TURN, prompt
from .evaluate import Reply, evaluate, is_right
from .export import load_network
from .network import reply
from .train import HELD_BACK_DIALOGUES, HELD_BACK_SEED, held_back_loss, pack


def main() -> None:
    """Evaluate a checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the directory of the training run")
    parser.add_argument("--ask", action="append", default=[], help="only ask this question")
    parser.add_argument("--temperature", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(arguments.out)
    vocabulary = tokenizer_training.Vocabulary.load(arguments.out / "vocabulary.json")
    tokenizer = tokenizer_training.build(vocabulary)
    generator = torch.Generator().manual_seed(1)

    def ask(question: str) -> Reply:
        tokens = tokenizer.encode(prompt(question)).ids
        end = vocabulary.id_of(END_OF_TURN)
        said, ended = reply(network, tokens, end, arguments.temperature, generator)
        return tokenizer.decode(said), ended

    def show(line: object) -> None:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")

    if arguments.ask:
        for question in arguments.ask:
            show([question, *ask(question)])
        return
    result = evaluate(ask, lambda text: tokenizer.encode(text).ids)
    for one in result.judgements:
        mark = "right" if is_right(one) else "WRONG"
        show([mark, one.ended, one.question.kind, one.question.text, one.reply])
    held_back = pack(tokenizer, HELD_BACK_SEED, HELD_BACK_DIALOGUES, network.shape.context + 1)
    show({**result.figures(), "perplexity": round(math.exp(held_back_loss(network, held_back)), 4)})


if __name__ == "__main__":
    main()
