"""Which type each tensor gets in a model "quantized to X".

The rules are llama.cpp's, so that a file made here holds the same mix of types as a published one: the
output head is finer than the layers, and the mixes (`Q4_K_M`, ...) give more bits to the value and down
projections of some layers.
"""

from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from llmcore.errors import InvalidArgumentError
from llmcore.tools.shapes import Role, Shape, TensorSpec

UNIFORM_TYPES = (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
)  # fmt: skip


@dataclass(frozen=True)
class _Mix:
    base: Type
    file_type: LlamaFileType


_MIXES = {
    "Q2_K_M": _Mix(Type.Q2_K, LlamaFileType.MOSTLY_Q2_K),  # what llama.cpp writes for Q2_K
    "Q3_K_M": _Mix(Type.Q3_K, LlamaFileType.MOSTLY_Q3_K_M),
    "Q4_K_S": _Mix(Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_S),
    "Q4_K_M": _Mix(Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q5_K_M": _Mix(Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
}

QUANT_NAMES = (*UNIFORM_TYPES, *_MIXES)

_FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
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
    Type.IQ4_XS: Type.IQ4_NL,
}


def file_type(quant: str) -> LlamaFileType:
    """The value of `general.file_type` for a model quantized to `quant`."""
    if quant in _MIXES:
        return _MIXES[quant].file_type
    return _FILE_TYPES[quant] if quant in _FILE_TYPES else LlamaFileType[f"MOSTLY_{quant}"]


def base_type(quant: str) -> Type:
    """The type of most of a model's weights. Raises InvalidArgumentError unless `quant` is in QUANT_NAMES."""
    if quant in _MIXES:
        return _MIXES[quant].base
    if quant in UNIFORM_TYPES:
        return Type[quant]
    raise InvalidArgumentError(
        f"[quant_mix] unknown quantization; got {quant!r}; expected one of {', '.join(QUANT_NAMES)}"
    )


def tensor_type(quant: str, shape: Shape, tensor: TensorSpec) -> Type:
    """The type of one tensor of a model of that shape, quantized to `quant`."""
    base = base_type(quant)
    if len(tensor.shape) < 2:
        return Type.F32
    if base in (Type.F32, Type.F16, Type.BF16):
        return base
    row = tensor.shape[-1]
    is_head = tensor.role is Role.OUTPUT or (tensor.role is Role.EMBEDDING and shape.tied_embeddings)
    if is_head:
        wanted = _head_type(base, row)
    elif quant in _MIXES:
        wanted = _mixed_type(quant, base, shape, tensor)
    else:
        wanted = base
    return _fit_row(wanted, row)


def _fit_row(wanted: Type, row: int) -> Type:
    if row % GGML_QUANT_SIZES[wanted][0] == 0:
        return wanted
    narrow = _NARROW_ROW.get(wanted, Type.F16)
    return narrow if row % GGML_QUANT_SIZES[narrow][0] == 0 else Type.F16


def _head_type(base: Type, row: int) -> Type:
    if base is Type.Q8_0 or row % GGML_QUANT_SIZES[base][0] != 0:
        return Type.Q8_0
    return Type.Q6_K


def _more_bits(layer: int, n_layers: int) -> bool:
    """The layers that get more bits: the first eighth, the last eighth, and every third between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def _mixed_type(quant: str, base: Type, shape: Shape, tensor: TensorSpec) -> Type:
    layer, n_layers = tensor.layer, shape.n_layers
    is_value = tensor.role in (Role.V, Role.QKV)
    is_down = tensor.role is Role.DOWN
    grouped = shape.n_heads // shape.n_kv_heads >= 4
    wanted = base
    if quant in ("Q4_K_M", "Q5_K_M"):
        if (is_value or is_down) and _more_bits(layer, n_layers):
            wanted = Type.Q6_K
    elif quant == "Q4_K_S":
        if (is_value and layer < 4) or (is_down and layer < n_layers // 8):
            wanted = Type.Q5_K
    elif quant == "Q3_K_M":
        if is_value:
            wanted = Type.Q5_K if layer < 2 else Type.Q4_K
        elif is_down:
            wanted = Type.Q5_K if layer < n_layers // 16 else Type.Q4_K
        elif tensor.role is Role.ATTENTION_OUT:
            wanted = Type.Q4_K
    elif quant == "Q2_K_M":
        if is_value and grouped:
            wanted = Type.Q4_K
        elif is_value or is_down or tensor.role is Role.ATTENTION_OUT:
            wanted = Type.Q3_K
    return wanted
