"""config.json, read with types checked and its several spellings of one thing brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmcore.tools.convert.errors import unusable

_LARGEST = 1 << 31
_LARGEST_NUMBER = 1e15  # two of them multiplied are still a float32
_LARGEST_HEAD = 1 << 14


@dataclass(frozen=True)
class Config:
    """A model's numbers. Every getter raises ModelError for a value of the wrong type.

    A key that is null counts as absent, as in the library that writes these files.
    """

    values: Mapping[str, Any]

    def find(self, *keys: str) -> Any:
        """The value of the first of `keys` that is there, or None."""
        return next((self.values[key] for key in keys if self.values.get(key) is not None), None)

    def size(self, *keys: str, default: int | None = None) -> int:
        """A positive whole number, `default` where there is none."""
        value = self.find(*keys)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _LARGEST:
            raise unusable(f"{keys[0]} in config.json", value, f"a whole number from 1 to {_LARGEST - 1}")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """A finite number, `default` where there is none."""
        value = self.find(*keys)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_NUMBER:
            raise unusable(f"{keys[0]} in config.json", value, "a number")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.find(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise unusable(f"{key} in config.json", value, "true or false")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """A list of `count` numbers."""
        value = self.find(key)
        if not isinstance(value, list) or len(value) != count:
            got = f"{len(value)} values" if isinstance(value, list) else value
            raise unusable(f"{key} in config.json", got, f"{count} numbers")
        return [Config({key: item}).number(key) for item in value]

    def section(self, key: str) -> Config:
        """An object within, empty where there is none."""
        value = self.find(key)
        if value is None:
            return Config({})
        if not isinstance(value, dict):
            raise unusable(f"{key} in config.json", type(value).__name__, "an object")
        return Config(value)

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        dims = self.size("head_dim", default=self.size("hidden_size") // self.size("num_attention_heads"))
        if dims > _LARGEST_HEAD:
            raise unusable("head_dim in config.json", dims, f"at most {_LARGEST_HEAD}")
        return dims

    def rope(self) -> Config:
        """Parameters of the rotary embedding of full attention: rope_theta, rope_type, factor and so on.

        They stand in `rope_parameters` (per kind of layer or not) or, in older files, in `rope_scaling` and
        at the top.
        """
        found = self.section("rope_parameters" if self.find("rope_parameters") else "rope_scaling")
        merged = dict(found.section("full_attention").values or found.values)
        merged.setdefault("rope_type", merged.get("type", "default"))
        for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
            if merged.get(key) is None and self.find(key) is not None:
                merged[key] = self.find(key)
        if merged.get("rope_theta") is None and self.find("rotary_emb_base") is not None:
            merged["rope_theta"] = self.find("rotary_emb_base")
        if not isinstance(merged["rope_type"], str):
            raise unusable("rope_type in config.json", merged["rope_type"], "a name")
        return Config(merged)

    def rotary_share(self, default: float) -> float:
        """The part of a head's dimensions that RoPE turns."""
        share = self.rope().number("partial_rotary_factor", default=default)
        if not 0.0 < share <= 1.0:
            raise unusable("partial_rotary_factor in config.json", share, "above 0, at most 1")
        return share

    def local_rope_theta(self) -> float | None:
        """RoPE's base in layers with a sliding window, where it is another one."""
        parameters = self.section("rope_parameters")
        if parameters.find("sliding_attention"):
            local = parameters.section("sliding_attention")
            return local.number("rope_theta") if local.find("rope_theta") else None
        return self.number("rope_local_base_freq") if self.find("rope_local_base_freq") else None


def text_config(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a multimodal configuration, which stands in `text_config`."""
    inner = values.get("text_config")
    if not isinstance(inner, dict):
        return values
    return {**values, **inner, "model_type": values.get("model_type")}
