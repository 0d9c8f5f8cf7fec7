"""Conversion of a Hugging Face model folder into a GGUF file: weights, metadata, tokenizer, chat template.

Nothing of the folder is executed and no pickle is opened; every file in it is checked before it is believed.
"""

from llmcore.tools.convert.conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
