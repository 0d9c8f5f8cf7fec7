"""Write a checkpoint of the demonstration model as a GGUF file.

``python -m llmcore.default_model.export --out DIR default.gguf`` needs torch, numpy and the ``gguf`` package.
Matrices are stored as Q8_0, norms as F32. The output matrix is the embedding, so it is not stored twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import quantize

from .corpus import END_OF_TURN
from .network import Network, Shape
from .tokenizer_training import BEGIN, END, UNKNOWN, Vocabulary

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_TENSOR_NAMES = {
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "feed_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def load_network(directory: Path) -> Network:
    """Read the network of the last checkpoint."""
    saved = torch.load(directory / "checkpoint.pt", weights_only=True)
    network = Network(Shape(**saved["shape"]))
    network.load_state_dict(saved["network"])
    network.eval()
    return network


def tensor_name(parameter: str) -> str:
    """Translate the name of a torch parameter into the one that the GGUF architecture ``llama`` uses."""
    if parameter == "embedding.weight":
        return "token_embd.weight"
    if parameter == "norm.weight":
        return "output_norm.weight"
    _, layer, *parts, weight = parameter.split(".")
    return f"blk.{layer}.{_TENSOR_NAMES['.'.join(parts)]}.{weight}"


def _write_metadata(writer: gguf.GGUFWriter, shape: Shape, vocabulary: Vocabulary) -> None:
    writer.add_name("llmcore-demo")
    writer.add_description("A small demonstration model that recites what it was taught")
    writer.add_languages(["en", "zh"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(vocabulary.pieces))
    writer.add_token_scores(list(vocabulary.scores))
    writer.add_token_types(list(vocabulary.types))
    writer.add_bos_token_id(vocabulary.id_of(BEGIN))
    writer.add_eos_token_id(vocabulary.id_of(END_OF_TURN))
    writer.add_eot_token_id(vocabulary.id_of(END_OF_TURN))
    writer.add_unk_token_id(vocabulary.id_of(UNKNOWN))
    writer.add_pad_token_id(vocabulary.id_of(END))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write(network: Network, vocabulary: Vocabulary, file: Path) -> None:
    """Write a network and its vocabulary as GGUF; the file appears only when it is complete."""
    partial = file.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, "llama")
    _write_metadata(writer, network.shape, vocabulary)
    for name, parameter in network.named_parameters():
        weights = parameter.detach().to(torch.float32).numpy()
        if weights.ndim == 1:
            writer.add_tensor(tensor_name(name), weights)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        packed = quantize(np.ascontiguousarray(weights), kind)
        writer.add_tensor(tensor_name(name), packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(file)


def main() -> None:
    """Export the last checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the directory of the training run")
    parser.add_argument("file", type=Path, help="the GGUF file to write")
    arguments = parser.parse_args()
    vocabulary = Vocabulary.load(arguments.out / "vocabulary.json")
    write(load_network(arguments.out), vocabulary, arguments.file)


if __name__ == "__main__":
    main()
