"""Fill-in-the-middle: the prompt formats of models that were trained to complete between two texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class InfillFormat:
    """The control tokens of one published format; the text before comes first, then the text behind.

    Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle", order PSM.
    """

    before: str
    behind: str
    middle: str

    def names(self) -> tuple[str, str, str]:
        return self.before, self.behind, self.middle


FORMATS = (
    InfillFormat("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    InfillFormat("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    InfillFormat("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    InfillFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    InfillFormat("▁<PRE>", "▁<SUF>", "▁<MID>"),
    InfillFormat("<PRE>", "<SUF>", "<MID>"),
)


def find_infill_tokens(token_of: Callable[[str], int | None]) -> tuple[int, int, int] | None:
    """The ids of the first format whose three tokens `token_of` knows; None if there is none."""
    for format_ in FORMATS:
        before, behind, middle = map(token_of, format_.names())
        if before is not None and behind is not None and middle is not None:
            return before, behind, middle
    return None
