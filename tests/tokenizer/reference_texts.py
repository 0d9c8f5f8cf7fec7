"""Made-up texts in many scripts, the same for a seed wherever Python runs."""

from __future__ import annotations

import random
from collections.abc import Callable

# Characters by script, as ranges of code points; what they stand for matters to nobody here.
SCRIPTS: dict[str, list[tuple[int, int]]] = {
    "latin": [
        (0x61, 0x7A),
        (0x61, 0x7A),
        (0x61, 0x7A),
        (0x41, 0x5A),
        (0xC0, 0xD6),
        (0xD8, 0xF6),
        (0x100, 0x17F),
    ],
    "cyrillic": [(0x430, 0x44F), (0x430, 0x44F), (0x410, 0x42F), (0x450, 0x45F)],
    "greek": [(0x3B1, 0x3C9), (0x3B1, 0x3C9), (0x391, 0x3A1), (0x1F00, 0x1F07)],
    "arabic": [(0x627, 0x63A), (0x641, 0x64A), (0x64B, 0x652), (0x660, 0x669)],
    "hebrew": [(0x5D0, 0x5EA), (0x5D0, 0x5EA), (0x5B0, 0x5BC)],
    "devanagari": [(0x904, 0x939), (0x93E, 0x94D), (0x966, 0x96F)],
    "bengali": [(0x995, 0x9A8), (0x9AA, 0x9B0), (0x9BE, 0x9C4)],
    "tamil": [(0xB95, 0xB95), (0xBAE, 0xBB9), (0xBBE, 0xBC2)],
    "thai": [(0xE01, 0xE2E), (0xE30, 0xE39), (0xE40, 0xE49)],
    "georgian": [(0x10D0, 0x10F0), (0x1C90, 0x1CB0)],
    "armenian": [(0x561, 0x586), (0x531, 0x556)],
    "ethiopic": [(0x1200, 0x1248)],
    "hangul": [(0xAC00, 0xAC40), (0xB098, 0xB0B8), (0x1100, 0x1112), (0x3131, 0x314E)],
    "kana": [(0x3041, 0x3093), (0x30A1, 0x30F6), (0xFF66, 0xFF9D)],
    "han": [(0x4E00, 0x4E80), (0x5B50, 0x5B80), (0x3400, 0x3410), (0x20000, 0x20010), (0xF900, 0xF910)],
    "southeast_asian": [(0x1780, 0x17B3), (0xE81, 0xE8A), (0x1000, 0x1021), (0x17B6, 0x17C5)],
    "symbols": [
        (0x1F600, 0x1F64F),
        (0x1F468, 0x1F469),
        (0x1F3FB, 0x1F3FF),
        (0x2190, 0x21FF),
        (0x30, 0x39),
        (0x30, 0x39),
        (0x20A0, 0x20BF),
        (0x2460, 0x2473),
        (0xBC, 0xBE),
        (0x2160, 0x216B),
    ],
}
SPACES = [
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " \n ",
    "\n \n",
    "        ",
    "\u00a0",
    "\u3000",
    "\u2009",
    "\u0085",
    "\u2028",
    "\v",
    "\f",
    "\t\t \t",
]
PUNCTUATION = [
    ".",
    ",",
    "!",
    "?",
    "...",
    "'",
    '"',
    "-",
    "--",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "/",
    "//",
    "\\",
    "@",
    "#",
    "##",
    "$",
    "%",
    "&",
    "*",
    "+",
    "=",
    "==",
    "<",
    ">",
    "<=",
    "_",
    "__",
    "`",
    "~",
    "|",
    "^",
    ":",
    ";",
    "'s",
    "'T",
    "'ll",
    "'RE",
    "n't",
    "。",
    "、",
    "「",
    "」",
    "！",
    "，",
    "«",
    "»",
    "—",
    "…",
    "\u2019s",
    "§",
    "©",
]
ODDITIES = [
    "\u0301",
    "\u0308\u0323",
    "\u200b",
    "\u200d",
    "\u200e",
    "\ufeff",
    "\ufe0f",
    "\u00ad",
    "\x00",
    "\x01",
    "\x1b",
    "\x7f",
    "\u2581",
    "\u2581\u2581",
    "\ufffd",
    "\U0010ffff",
    "\ue000",
    "ﬁ",
    "①",
    "½",
    "Ⅷ",
    "Å",
    "e\u0301",
    "가",
    "か\u3099",
    "ﷺ",
    "ｶﾞ",
    "İ",
    "ß",
    "ẞ",
    "ǆ",
    "\U0001d400",
    "👨\u200d👩\u200d👧",
    "🇩🇪",
    "<s>",
    "</s>",
    "<unk>",
    "<0x41>",
    "<pad>",
    "[CLS]",
    "[UNK]",
    "<|endoftext|>",
    "##a",
    "Ġ",
]
WORDS = [
    "the",
    "The",
    "THE",
    "hello",
    "world",
    "model",
    "tokens",
    "is",
    "of",
    "it's",
    "don't",
    "I'm",
    "camelCaseWord",
    "x1",
    "3.14159",
    "1234567",
    "0x1F",
    "2024-01-31",
    "user@example.org",
    "https://a.b/c?d=e",
    "def f(x):",
    "return x+1;",
    "你好",
    "世界",
    "模型",
    "什么是",
    "今天天气",
    "llmcore",
    "naïve",
    "Привет",
    "мир",
]


def _characters(rng: random.Random, script: str, n: int) -> str:
    ranges = SCRIPTS[script]
    return "".join(chr(rng.randint(*ranges[rng.randrange(len(ranges))])) for _ in range(n))


def _word(rng: random.Random, script: str) -> str:
    return _characters(rng, script, 1 + rng.randrange(7))


def _sentence(rng: random.Random, script: str) -> str:
    words = [_word(rng, script) if rng.randrange(4) else WORDS[rng.randrange(len(WORDS))] for _ in range(4)]
    text = " ".join(words[: 1 + rng.randrange(4)])
    return text + PUNCTUATION[rng.randrange(len(PUNCTUATION))] if rng.randrange(2) else text


def _patchwork(rng: random.Random, script: str) -> str:
    """Words, spaces, punctuation and oddities in any order."""
    makers: list[Callable[[], str]] = [
        lambda: _word(rng, script),
        lambda: WORDS[rng.randrange(len(WORDS))],
        lambda: SPACES[rng.randrange(len(SPACES))],
        lambda: PUNCTUATION[rng.randrange(len(PUNCTUATION))],
        lambda: ODDITIES[rng.randrange(len(ODDITIES))],
        lambda: str(rng.randrange(10 ** (1 + rng.randrange(8)))),
    ]
    return "".join(makers[rng.randrange(len(makers))]() for _ in range(2 + rng.randrange(6)))


def _mixture(rng: random.Random, script: str) -> str:
    names = list(SCRIPTS)
    other = names[rng.randrange(len(names))]
    space = SPACES[rng.randrange(len(SPACES))] if rng.randrange(2) else ""
    return space + _word(rng, script) + space + _word(rng, other) + str(rng.randrange(1000))


def _repetition(rng: random.Random, script: str) -> str:
    parts = [_characters(rng, script, 1), SPACES[rng.randrange(len(SPACES))], "=", "ab", "0", "\n", " "]
    return parts[rng.randrange(len(parts))] * (1 + rng.randrange(20)) + _word(rng, script)


def texts(seed: int, per_script: int) -> list[str]:
    """`per_script` texts for each of the 17 scripts, every fifth of another kind; none is empty."""
    rng = random.Random(seed)
    kinds = (_sentence, _patchwork, _patchwork, _mixture, _repetition)
    return [kinds[i % len(kinds)](rng, script) for script in SCRIPTS for i in range(per_script)]
