"""Which type each tensor gets in a model "quantized to X".

The rules are llama.cpp's, so that a file made here holds the same mix of types as a published one: the
output head is finer than the layers, and the mixes (`Q4_K_M`, ...) give more bits to the value and down
projections of some layers.
"""

import re
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from llmcore.errors import InvalidArgumentError
from llmcore.tools.shapes import Role, Shape, TensorSpec

UNIFORM_TYPES = (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
    "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0",
)  # fmt: skip
"""Synthetic models have all layers in one of these, or a mix of `_SYNTHETIC_MIXES`."""


@dataclass(frozen=True)
class Mix:
    """A mix of types: that of most weights, and what `general.file_type` says."""

    base: Type
    file_type: LlamaFileType


MIXES = {
    "F32": Mix(Type.F32, LlamaFileType.ALL_F32),
    "F16": Mix(Type.F16, LlamaFileType.MOSTLY_F16),
    "BF16": Mix(Type.BF16, LlamaFileType.MOSTLY_BF16),
    "Q8_0": Mix(Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q6_K": Mix(Type.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "Q5_K_M": Mix(Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "Q5_K_S": Mix(Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_S),
    "Q5_1": Mix(Type.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "Q5_0": Mix(Type.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "Q4_K_M": Mix(Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q4_K_S": Mix(Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_S),
    "Q4_1": Mix(Type.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "Q4_0": Mix(Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "IQ4_NL": Mix(Type.IQ4_NL, LlamaFileType.MOSTLY_IQ4_NL),
    "IQ4_XS": Mix(Type.IQ4_XS, LlamaFileType.MOSTLY_IQ4_XS),
    "Q3_K_L": Mix(Type.Q3_K, LlamaFileType.MOSTLY_Q3_K_L),
    "Q3_K_M": Mix(Type.Q3_K, LlamaFileType.MOSTLY_Q3_K_M),
    "Q3_K_S": Mix(Type.Q3_K, LlamaFileType.MOSTLY_Q3_K_S),
    "Q2_K": Mix(Type.Q2_K, LlamaFileType.MOSTLY_Q2_K),
    "Q2_K_S": Mix(Type.Q2_K, LlamaFileType.MOSTLY_Q2_K_S),
}
"""What a model can be quantized to, as llama.cpp names it, finest first."""

_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

# For synthetic models, where the plain name means every layer alike.
_SYNTHETIC_MIXES = {"Q2_K_M": "Q2_K", **{name: name for name in ("Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M")}}
_MIXTURE_ONLY = Mix(Type.Q8_0, LlamaFileType.MOSTLY_MXFP4_MOE)

QUANT_NAMES = (*UNIFORM_TYPES, *_SYNTHETIC_MIXES, "MXFP4_MOE")

_UNIFORM_FILE_TYPES = {
    "Q3_K": LlamaFileType.MOSTLY_Q3_K_S,
    "Q4_K": LlamaFileType.MOSTLY_Q4_K_S,
    "Q5_K": LlamaFileType.MOSTLY_Q5_K_S,
}

# What a type of 256-element blocks becomes when a row is not a multiple of 256.
_NARROW_ROW = {
    Type.Q2_K: Type.Q4_0,
    Type.Q3_K: Type.Q4_0,
    Type.Q4_K: Type.Q5_0,
    Type.Q5_K: Type.Q5_1,
    Type.Q6_K: Type.Q8_0,
    **dict.fromkeys((Type.IQ1_S, Type.IQ1_M, Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S), Type.IQ4_NL),
    **dict.fromkeys((Type.IQ3_XXS, Type.IQ3_S, Type.IQ4_XS), Type.IQ4_NL),
    **dict.fromkeys((Type.TQ1_0, Type.TQ2_0), Type.Q4_0),
}

_UNQUANTIZED = (Type.F32, Type.F16, Type.BF16)

# Small or sensitive matrices that keep the type they have: routers, positions, convolutions, the mixing
# parameters of recurrent models.
_KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|^position_embd\.weight"
    r"|^token_types\.weight|ssm_conv1d|shortconv\.conv\.weight|attn_rel_b\.weight"
    r"|time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight"
)

# Models of these depths count as "70B", whose values are narrow beside the queries.
_LAYERS_OF_70B = {"llama": 80, "deci": 80, "qwen2": 80, "olmo": 80, "jais2": 68}


_LAYER_WEIGHT = re.compile(r"blk\.(\d{1,9})\.(\w+)\.weight")
_VALUE_PARTS = ("attn_v", "attn_qkv", "attn_kv_b")


@dataclass(frozen=True)
class ModelFacts:
    """What the mixes depend on beside a tensor itself. `value_layers`: those with a value projection."""

    architecture: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    n_experts: int
    tied_embeddings: bool
    value_layers: tuple[int, ...]

    @property
    def grouped(self) -> bool:
        """Whether four or more query heads share a value head."""
        return self.n_kv_heads > 0 and self.n_heads // self.n_kv_heads >= 4


def mix_name(name: str) -> str:
    """The key of MIXES for a name as a user writes it. Raises InvalidArgumentError if there is none."""
    upper = name.upper()
    known = _ALIASES.get(upper, upper)
    if known not in MIXES:
        names = ", ".join((*MIXES, *_ALIASES))
        raise InvalidArgumentError(f"[quant_mix] unknown quantization; got {name!r}; expected one of {names}")
    return known


def can_change(name: str, n_dims: int) -> bool:
    """Whether a tensor is one that quantization changes: a matrix, and none of the small ones."""
    return n_dims >= 2 and name.endswith("weight") and _KEPT.search(name) is None


def weight_type(mix: str, model: ModelFacts, name: str, row: int) -> Type:
    """The type of the weight `name`, whose rows have `row` elements, in a model quantized to `mix`.

    `mix` is a key of MIXES; the weight is one for which `can_change` holds.
    """
    base = MIXES[mix].base
    if base in _UNQUANTIZED:
        return base
    head = is_head(model, name)
    return fit_row(_head_type(base, row) if head else _layer_type(mix, base, model, name), row)


def value_layer(name: str) -> int | None:
    """The layer whose values a weight projects to; None for other tensors."""
    match = _LAYER_WEIGHT.fullmatch(name)
    return int(match[1]) if match is not None and match[2] in _VALUE_PARTS else None


def is_head(model: ModelFacts, name: str) -> bool:
    """Whether logits are computed from this tensor."""
    return name == "output.weight" or (model.tied_embeddings and is_embedding(name))


def is_embedding(name: str) -> bool:
    """Whether the tensor is a table of token embeddings."""
    return name in ("token_embd.weight", "per_layer_token_embd.weight")


def fit_row(wanted: Type, row: int) -> Type:
    """The type wanted, or the next that has blocks a row is a multiple of."""
    if row % GGML_QUANT_SIZES[wanted][0] == 0:
        return wanted
    narrow = _NARROW_ROW.get(wanted, Type.F16)
    return narrow if row % GGML_QUANT_SIZES[narrow][0] == 0 else Type.F16


def _head_type(base: Type, row: int) -> Type:
    if base is Type.Q8_0 or row % GGML_QUANT_SIZES[base][0] != 0:
        return Type.Q8_0
    return Type.Q6_K


def _layer_type(mix: str, base: Type, model: ModelFacts, name: str) -> Type:
    match = _LAYER_WEIGHT.fullmatch(name)
    if match is None:
        return base
    layer, part = int(match[1]), match[2]
    if part in _VALUE_PARTS:
        return _value_type(mix, base, model, layer)
    if part == "attn_k" and model.n_experts == 8:
        return Type.Q8_0
    if part == "attn_output":
        return _attention_output_type(mix, base, model)
    if part.startswith("ffn_down"):
        return _down_type(mix, base, layer, model.n_layers)
    return base


def _more_bits(layer: int, n_layers: int) -> bool:
    """The layers that get more bits: the first eighth, the last eighth, and every third between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def _value_type(mix: str, base: Type, model: ModelFacts, layer: int) -> Type:
    if model.n_experts == 8:  # they are small beside eight experts
        return Type.Q8_0
    rank = model.value_layers.index(layer)
    wanted = base
    if mix == "Q2_K":
        wanted = Type.Q4_K if model.grouped else Type.Q3_K
    elif mix == "Q2_K_S" and model.grouped:
        wanted = Type.Q4_K
    elif mix == "Q3_K_M":
        wanted = Type.Q5_K if rank < 2 else Type.Q4_K
    elif mix == "Q3_K_L" or (mix in ("IQ4_NL", "IQ4_XS") and model.grouped):
        wanted = Type.Q5_K
    elif mix in ("Q4_K_M", "Q5_K_M") and _more_bits(rank, len(model.value_layers)):
        wanted = Type.Q6_K
    elif mix == "Q4_K_S" and rank < 4:
        wanted = Type.Q5_K
    if _is_70b(model) and wanted in (Type.Q3_K, Type.Q4_K):
        wanted = Type.Q5_K
    return wanted


def _is_70b(model: ModelFacts) -> bool:
    if model.architecture == "llama" and model.n_heads == model.n_kv_heads:
        return False
    return _LAYERS_OF_70B.get(model.architecture) == model.n_layers


def _attention_output_type(mix: str, base: Type, model: ModelFacts) -> Type:
    if model.n_experts == 8:
        finer = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS")
        return Type.Q5_K if mix in finer else base
    return {"Q2_K": Type.Q3_K, "Q3_K_M": Type.Q4_K, "Q3_K_L": Type.Q5_K}.get(mix, base)


def _down_type(mix: str, base: Type, layer: int, n_layers: int) -> Type:
    first_eighth = layer < n_layers // 8
    wanted = base
    if mix == "Q2_K":
        wanted = Type.Q3_K
    elif mix == "Q2_K_S" and first_eighth:
        wanted = Type.Q4_K
    elif mix == "Q3_K_M":
        wanted = Type.Q5_K if layer < n_layers // 16 else Type.Q4_K
    elif mix == "Q3_K_L" or (mix in ("Q4_K_S", "IQ4_NL", "IQ4_XS") and first_eighth):
        wanted = Type.Q5_K
    elif mix in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, n_layers):
        wanted = Type.Q6_K
    return wanted


def file_type(quant: str) -> LlamaFileType:
    """The value of `general.file_type` for a synthetic model quantized to `quant`, a name of QUANT_NAMES."""
    if quant in UNIFORM_TYPES:
        return (
            _UNIFORM_FILE_TYPES.get(quant)
            or LlamaFileType[f"{'ALL' if quant == 'F32' else 'MOSTLY'}_{quant}"]
        )
    return _synthetic_mix(quant).file_type


def base_type(quant: str) -> Type:
    """The type of most of a synthetic model's weights. Raises InvalidArgumentError unless in QUANT_NAMES."""
    return Type[quant] if quant in UNIFORM_TYPES else _synthetic_mix(quant).base


def tensor_type(quant: str, shape: Shape, tensor: TensorSpec) -> Type:
    """The type of one tensor of a synthetic model of that shape, quantized to `quant`."""
    base = base_type(quant)
    row = tensor.shape[-1]
    if len(tensor.shape) < 2 or tensor.role in (Role.BIAS, Role.ROUTER, Role.ADDED):
        return Type.F32
    if base in _UNQUANTIZED:
        return base
    facts = _facts(shape)
    if quant in _SYNTHETIC_MIXES:
        return weight_type(_SYNTHETIC_MIXES[quant], facts, tensor.name, row)
    if is_head(facts, tensor.name):
        return fit_row(_head_type(base, row), row)
    if quant == "MXFP4_MOE" and len(tensor.shape) > 2:
        return fit_row(Type.MXFP4, row)
    return fit_row(base, row)


def _synthetic_mix(quant: str) -> Mix:
    if quant == "MXFP4_MOE":
        return _MIXTURE_ONLY
    if quant in _SYNTHETIC_MIXES:
        return MIXES[_SYNTHETIC_MIXES[quant]]
    raise InvalidArgumentError(
        f"[quant_mix] unknown quantization; got {quant!r}; expected one of {', '.join(QUANT_NAMES)}"
    )


def _facts(shape: Shape) -> ModelFacts:
    return ModelFacts(
        architecture=shape.architecture,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        n_experts=shape.n_experts,
        tied_embeddings=shape.tied_embeddings,
        value_layers=tuple(range(shape.n_layers)),
    )
