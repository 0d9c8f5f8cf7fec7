"""Generated text in which chosen control tokens show as their names.

The engine's own text leaves control tokens out. Formats that structure an answer by them (channels, tool
calls) can only be read with them in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmcore import _core


class MarkedText:
    """One completion's text, from its token ids; as the engine's, but for the names. Not thread-safe."""

    def __init__(
        self,
        vocabulary: _core.Vocabulary,
        shown: Mapping[int, str],
        *,
        stop: Sequence[str] = (),
        min_tokens: int = 0,
        begins_text: bool = True,
    ) -> None:
        """`shown` are the control tokens to name; `stop` and `min_tokens` those of the request."""
        self._vocabulary = vocabulary
        self._shown = shown
        self._stop = list(stop)
        self._unstoppable = min_tokens
        self._assembler = _core.Utf8Assembler()
        self._matcher = _core.StopMatcher(self._stop)
        self._strips_space = begins_text and vocabulary.strips_first_space

    def push(self, tokens: Sequence[int]) -> str:
        """What these tokens add: whole characters, nothing that may still become a stop string."""
        return "".join(self._push(token) for token in tokens)

    def flush(self) -> str:
        """What was held back; nothing follows."""
        return self._matcher.push(self._assembler.flush()) + self._matcher.flush()

    def _push(self, token: int) -> str:
        self._unstoppable -= 1
        if token in self._shown:
            held = self.flush()
            # Text before the name and behind it are two texts.
            self._assembler, self._matcher = _core.Utf8Assembler(), _core.StopMatcher(self._stop)
            return held + self._shown[token]
        added = self._vocabulary.text_bytes(token) if token < self._vocabulary.size else b""
        if self._strips_space and added:
            self._strips_space = False
            added = added.removeprefix(b" ")
        text = self._assembler.push(added)
        return text if self._unstoppable > 0 else self._matcher.push(text)
