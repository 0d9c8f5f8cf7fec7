"""The tokenizer of the demonstration model: pieces with scores, merged by score, with bytes to fall back on.

The pieces are learned with the ``tokenizers`` package. What counts afterwards is only the list of pieces and
scores that the GGUF file stores: ``build`` makes the working tokenizer from that list by the rule that
readers of such files use (any two neighbours whose concatenation is a piece may merge, the best score
first), so that training sees exactly the tokens that inference will see.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from .corpus import END_OF_TURN, START_OF_TURN

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL_PIECES = (UNKNOWN, BEGIN, END, START_OF_TURN, END_OF_TURN)
BYTE_PIECES = tuple(f"<0x{value:02X}>" for value in range(256))
SPACE = "▁"
# Row counts that are multiples of 32 suit quantized blocks.
_VOCABULARY_MULTIPLE = 32
_LONGEST_PIECE = 12

# Types of pieces in a GGUF file.
NORMAL_TYPE, UNKNOWN_TYPE, CONTROL_TYPE, UNUSED_TYPE, BYTE_TYPE = 1, 2, 3, 5, 6


@dataclass(frozen=True)
class Vocabulary:
    """Pieces with their scores and types, in the order of their token ids."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]

    def id_of(self, piece: str) -> int:
        """Return the token id of a piece."""
        return self.pieces.index(piece)

    def save(self, file: Path) -> None:
        """Write the vocabulary as JSON."""
        content = {"pieces": self.pieces, "scores": self.scores, "types": self.types}
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Vocabulary:
        """Read a vocabulary that ``save`` has written."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(tuple(content["pieces"]), tuple(content["scores"]), tuple(content["types"]))


def train(texts: Iterable[str], size: int) -> Vocabulary:
    """Learn the pieces of at most ``size`` tokens from texts.

    English words may become single pieces; a Chinese character, a digit or a sign always stands alone,
    so that a new wording is made of familiar tokens.
    """
    texts = list(texts)
    characters = Counter(character for text in texts for character in text if not character.isspace())
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", SPACE)
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(f"{SPACE}?[A-Za-z]+|[^A-Za-z]"), "isolated")
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size - len(SPECIAL_PIECES) - len(BYTE_PIECES),
            min_frequency=30,
            # A character that is rare in the corpus is better read as bytes than as an untrained token.
            initial_alphabet=[SPACE, *(character for character, times in characters.items() if times >= 40)],
            limit_alphabet=sum(times >= 40 for times in characters.values()) + 1,
            max_token_length=_LONGEST_PIECE,
            show_progress=False,
        ),
    )
    learned = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    normal = [piece for piece, _ in learned if piece != "\n"]
    total = len(SPECIAL_PIECES) + len(BYTE_PIECES) + len(normal)
    unused = [f"<|unused_{index}|>" for index in range(-total % _VOCABULARY_MULTIPLE)]
    special_types = (UNKNOWN_TYPE, *(CONTROL_TYPE for _ in SPECIAL_PIECES[1:]))
    return Vocabulary(
        pieces=(*SPECIAL_PIECES, *BYTE_PIECES, *normal, *unused),
        scores=(
            *(0.0 for _ in range(len(SPECIAL_PIECES) + len(BYTE_PIECES))),
            # Pieces are listed in the order in which they were merged.
            *(-float(rank) for rank in range(len(normal))),
            *(-1e6 for _ in unused),
        ),
        types=(
            *special_types,
            *(BYTE_TYPE for _ in BYTE_PIECES),
            *(NORMAL_TYPE for _ in normal),
            *(UNUSED_TYPE for _ in unused),
        ),
    )


def build(vocabulary: Vocabulary) -> Tokenizer:
    """Make the tokenizer that a reader of the GGUF file makes from its pieces and scores."""
    ids = {piece: index for index, piece in enumerate(vocabulary.pieces)}
    merges = []
    for index, piece in enumerate(vocabulary.pieces):
        if vocabulary.types[index] != NORMAL_TYPE:
            continue
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ids and right in ids:
                merges.append((-vocabulary.scores[index], index, at, left, right))
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=[(left, right) for *_, left, right in sorted(merges)],
            unk_token=UNKNOWN,
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(piece, special=True, normalized=False)
            for index, piece in enumerate(vocabulary.pieces)
            if vocabulary.types[index] in (UNKNOWN_TYPE, CONTROL_TYPE)
        ]
    )
    return tokenizer
