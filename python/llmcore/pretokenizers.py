"""How byte-level BPE vocabularies cut text into words: facts, by the name in `tokenizer.ggml.pre`.

Each rule is a list of regular expressions (Oniguruma syntax) applied one after another; every match and every
gap between matches becomes a piece. They are the models' own published expressions where those are known;
programs whose regular expressions know less adapt some of them, and then cut some texts otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased_words(contraction: str, digits: str) -> str:
    prefix = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{prefix}{_UPPER}*{_LOWER}+{contraction}|{prefix}{_UPPER}+{_LOWER}*{contraction}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


_GPT4O = _cased_words(f"{_CONTRACTION}?", r"\p{N}{1,3}")
_TEKKEN = _cased_words("", r"\p{N}")
_DIGIT = r"\p{N}"
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_PUNCTUATED = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|" + _SPACES
)
# Unicode's cased letters as deepseek-llm's tokenizer lists them.
_DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
    "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
)
_IDEOGRAPHS_AND_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
# afmoe's ideographs (with the compatibility ones), kana, Thai, Lao, Khmer, Myanmar and Hangul.
_UNSPACED = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
_YOUTU_BLOCKS = (
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
    "|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)


def _without_han(letters: str) -> str:
    return rf"[{letters[1:-1]}&&[^\p{{Han}}]]"


# As the model's own code has it (tokenization_kimi.py): Chinese characters are words of their own.
_KIMI = _cased_words(f"{_CONTRACTION}?", r"\p{N}{1,3}").replace("[\\r\\n/]*", "[\\r\\n]*")
_KIMI = r"\p{Han}+|" + _KIMI.replace(_UPPER, _without_han(_UPPER)).replace(_LOWER, _without_han(_LOWER))
# Runs of spaces are cut to lengths of powers of two.
_JAIS2 = (
    _LLAMA3.removesuffix(r"|\s+(?!\S)|\s+")
    + "".join(rf"|\s{{{n}}}(?!\S)" for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))
    + r"|\s"
)
# Groups of three digits, counted from the right.
_THOUSANDS = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"


@dataclass(frozen=True)
class PreTokenizer:
    """One rule: the expressions, whether whole known words skip the merges, and BOS by default."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


_LLAMA3_RULE = PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
_GPT2_RULE = PreTokenizer((_GPT2,))
_DIGITS_GPT2_RULE = PreTokenizer((_DIGIT, _GPT2))
_QWEN2_RULE = PreTokenizer((_QWEN2,))
_GPT4O_RULE = PreTokenizer((_GPT4O,))
_DEEPSEEK3_RULE = PreTokenizer((r"\p{N}{1,3}", _CJK, _PUNCTUATED))

DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))

_BAILING = PreTokenizer(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)

_RULES: dict[PreTokenizer, tuple[str, ...]] = {
    DEFAULT: ("default",),
    _LLAMA3_RULE: (
        "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "jina-v5-nano",
    ),
    PreTokenizer((_LLAMA3,)): ("dbrx", "smaug-bpe", "chatglm-bpe"),
    PreTokenizer((_LLAMA3,), ignore_merges=True): ("glm4", "glm5"),
    PreTokenizer((_JAIS2,)): ("jais-2",),
    _QWEN2_RULE: (
        "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan",
        "solar-open", "grok-2",
    ),
    PreTokenizer((_QWEN35,)): ("qwen35",),
    _GPT2_RULE: (
        "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code",
        "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "modern-bert", "mpt", "olmo", "jais", "trillion",
        "granite-docling", "exaone4",
    ),
    _DIGITS_GPT2_RULE: (
        "starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2",
    ),
    PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")): ("falcon",),
    PreTokenizer(
        (
            r"[\r\n]", rf"\s?[{_DEEPSEEK_LETTERS}]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"\s+$", _IDEOGRAPHS_AND_HANGUL, r"\p{N}+",
        )
    ): ("deepseek-llm",),
    PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _IDEOGRAPHS_AND_HANGUL, _DIGIT)): (
        "deepseek-coder",
    ),
    PreTokenizer(
        (r"\p{N}{1,3}", _CJK, _PUNCTUATED.replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]"), _DIGIT)
    ): ("spark2_5",),
    PreTokenizer((_THOUSANDS, _UNSPACED, _PUNCTUATED)): ("afmoe",),
    _DEEPSEEK3_RULE: ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    PreTokenizer((_BLOOM,)): ("bloom", "poro-chat", "gpt3-finnish"),
    PreTokenizer((_BLOOM, _DIGIT)): ("viking",),
    PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True): ("tekken",),
    _GPT4O_RULE: ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
    PreTokenizer((_GPT4O,), ignore_merges=True): ("granite-embed-multi-97m",),
    PreTokenizer((_YOUTU_BLOCKS, _cased_words(f"{_CONTRACTION}?", _DIGIT)), ignore_merges=True): ("youtu",),
    PreTokenizer((_KIMI,)): ("kimi-k2",),
    PreTokenizer((r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O)): ("tiny_aya", "cohere2moe"),
    _BAILING: ("bailingmoe", "bailingmoe2", "llada-moe"),
    PreTokenizer(
        (
            rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",
        )
    ): ("seed-coder",),
    PreTokenizer((_QWEN2.removeprefix(f"{_CONTRACTION}|"),)): ("ufakzeka",),
    PreTokenizer((r"[^\n]+|\n+", _QWEN2)): ("laguna",),
    PreTokenizer(
        (
            rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ): ("exaone-moe",),
    PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))")): ("superbpe",),
    PreTokenizer(
        (
            "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", _DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]", _GPT2,
        ),
        add_bos=True,
    ): ("chameleon",),
    PreTokenizer(
        (r"\p{N}{1,3}", _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")), ignore_merges=True
    ): ("minicpm5",),
}  # fmt: skip

PRETOKENIZERS: dict[str, PreTokenizer] = {name: rule for rule, names in _RULES.items() for name in names}
