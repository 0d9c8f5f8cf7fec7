"""
The native core of llmcore. Use the llmcore package; names here may change.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import os
import pathlib
import typing
__all__: list[str] = ['BlockPool', 'ByteLevelEncoder', 'Engine', 'EngineStats', 'GGUFFile', 'GGUFTensor', 'KernelCall', 'KvTiers', 'ModelInfo', 'Output', 'PieceEncoder', 'Sampler', 'Scheduler', 'StopMatcher', 'ThreadPool', 'Utf8Assembler', 'Vocabulary', 'byte_pair_tables', 'cuda_status', 'dequantize', 'formats', 'kernels', 'linear_kernel', 'machine', 'quantize', 'tokenizer_kind', 'uniform_draw']
class Output:
    """
    What one step brought for one sequence.
    """
    def take_values(self) -> numpy.typing.NDArray[numpy.float32]:
        """
        Logits or the embedding, flat; moved out by the first call.
        """
    @property
    def cached_tokens(self) -> int:
        ...
    @property
    def completion_tokens(self) -> int:
        ...
    @property
    def error_message(self) -> str:
        ...
    @property
    def error_name(self) -> str:
        ...
    @property
    def finish(self) -> str | None:
        ...
    @property
    def first_token_seconds(self) -> float:
        ...
    @property
    def index(self) -> int:
        ...
    @property
    def logprob_sum(self) -> float | None:
        ...
    @property
    def logprobs(self) -> list[tuple[int, float, list[tuple[int, float]]]]:
        ...
    @property
    def prompt_logprobs(self) -> list[tuple[int, float, list[tuple[int, float]]]] | None:
        ...
    @property
    def prompt_tokens(self) -> int:
        ...
    @property
    def queue_seconds(self) -> float:
        ...
    @property
    def request(self) -> int:
        ...
    @property
    def request_done(self) -> bool:
        ...
    @property
    def text(self) -> str:
        ...
    @property
    def tokens(self) -> list[int]:
        ...
    @property
    def total_seconds(self) -> float:
        ...
class ModelInfo:
    """
    What was loaded, and how.
    """
    @property
    def architecture(self) -> str:
        ...
    @property
    def d_model(self) -> int:
        ...
    @property
    def device(self) -> str:
        ...
    @property
    def device_note(self) -> str:
        ...
    @property
    def draft_model(self) -> str:
        ...
    @property
    def file_bytes(self) -> int:
        ...
    @property
    def generates(self) -> bool:
        ...
    @property
    def gpu_layers(self) -> int:
        ...
    @property
    def kv_bytes(self) -> int:
        ...
    @property
    def kv_cache_type(self) -> str:
        ...
    @property
    def kv_contexts(self) -> float:
        ...
    @property
    def kv_plan(self) -> str:
        ...
    @property
    def n_ctx(self) -> int:
        ...
    @property
    def n_ctx_train(self) -> int:
        ...
    @property
    def n_layers(self) -> int:
        ...
    @property
    def n_vocab(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def parameters(self) -> int:
        ...
    @property
    def placement(self) -> str:
        ...
    @property
    def pooling(self) -> str:
        ...
    @property
    def quantization(self) -> str:
        ...
    @property
    def system_fingerprint(self) -> str:
        ...
    @property
    def threads(self) -> int:
        ...
    @property
    def weight_bytes(self) -> int:
        ...
class EngineStats:
    """
    The state after the last step, and totals.
    """
    @property
    def accepted_draft_tokens(self) -> int:
        ...
    @property
    def accepted_tokens(self) -> int:
        ...
    @property
    def cached_prompt_tokens(self) -> int:
        ...
    @property
    def cancelled(self) -> int:
        ...
    @property
    def draft_failures(self) -> int:
        ...
    @property
    def draft_seconds(self) -> float:
        ...
    @property
    def drafted_tokens(self) -> int:
        ...
    @property
    def expired(self) -> int:
        ...
    @property
    def failed(self) -> int:
        ...
    @property
    def generated_tokens(self) -> int:
        ...
    @property
    def guessed_tokens(self) -> int:
        ...
    @property
    def kept_preemptions(self) -> int:
        ...
    @property
    def kv_blocks_free(self) -> int:
        ...
    @property
    def kv_blocks_total(self) -> int:
        ...
    @property
    def kv_restored_disk(self) -> int:
        ...
    @property
    def kv_restored_ram(self) -> int:
        ...
    @property
    def kv_spilled_disk(self) -> int:
        ...
    @property
    def kv_spilled_ram(self) -> int:
        ...
    @property
    def preemptions(self) -> int:
        ...
    @property
    def prompt_tokens(self) -> int:
        ...
    @property
    def requests(self) -> int:
        ...
    @property
    def running(self) -> int:
        ...
    @property
    def step_seconds(self) -> float:
        ...
    @property
    def steps(self) -> int:
        ...
    @property
    def waiting(self) -> int:
        ...
    @property
    def wasted_tokens(self) -> int:
        ...
class Engine:
    """
    A loaded model and the thread that runs it.
    """
    def __init__(self, path: os.PathLike | str | bytes, *, device: str = 'auto', gpu_layers: str = 'auto', threads: typing.SupportsInt | typing.SupportsIndex = 0, n_ctx: typing.SupportsInt | typing.SupportsIndex = 0, kv_cache_type: str = 'f16', max_batch: typing.SupportsInt | typing.SupportsIndex = 32, max_queue: typing.SupportsInt | typing.SupportsIndex = 256, kv_budget: typing.SupportsInt | typing.SupportsIndex = 0, tensor_formats: collections.abc.Mapping[str, str] = {}, guide: typing.Any = None, prefix_cache: bool = True, max_itl_seconds: typing.SupportsFloat | typing.SupportsIndex | None = None, prompt_lookup: typing.SupportsInt | typing.SupportsIndex = 0, deterministic: bool = False, mmap: bool = False, tuned: collections.abc.Sequence[tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]] = [], lora: collections.abc.Sequence[tuple[str, os.PathLike | str | bytes, typing.SupportsFloat | typing.SupportsIndex]] = [], draft_model: os.PathLike | str | bytes | None = None, draft_tokens: typing.SupportsInt | typing.SupportsIndex = 4, kv_spill_ram: typing.SupportsInt | typing.SupportsIndex = 0, kv_cache_dir: os.PathLike | str | bytes | None = None, kv_cache_dir_limit: typing.SupportsInt | typing.SupportsIndex = 8589934592) -> None:
        """
        tuned: (kernel, m, n, k): the fastest that was measured for such products. lora: (name, file, scale) of the adapters that are there from the start.
        """
    def abort(self, id: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def adapters(self) -> list[tuple[str, pathlib.Path, float, int, int, int]]:
        """
        Name, path, scale, largest rank, matrices and bytes of each.
        """
    def close(self) -> None:
        """
        Ends every request as cancelled and joins the thread; queued outputs stay.
        """
    def drain(self) -> list[Output]:
        """
        All queued outputs; never waits.
        """
    def kernel_uses(self) -> list:
        """
        What has run so far, with the kernel it gets for each number of rows: dicts of op, format, n, k, head_dim, rows (first, last; last 0: any), kernel, reason and ran.
        """
    def load_adapter(self, name: str, path: os.PathLike | str | bytes, scale: typing.SupportsFloat | typing.SupportsIndex = 1.0) -> None:
        ...
    def new_warning(self) -> str:
        """
        What the operator should know of the tiers below the KV cache, told once; otherwise empty.
        """
    def stats(self) -> EngineStats:
        ...
    def submit(self, id: typing.SupportsInt | typing.SupportsIndex, prompt: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], *, kind: str = 'generate', max_tokens: typing.SupportsInt | typing.SupportsIndex = 128, n: typing.SupportsInt | typing.SupportsIndex = 1, temperature: typing.SupportsFloat | typing.SupportsIndex = 1.0, top_k: typing.SupportsInt | typing.SupportsIndex = 0, top_p: typing.SupportsFloat | typing.SupportsIndex = 1.0, min_p: typing.SupportsFloat | typing.SupportsIndex = 0.0, seed: typing.SupportsInt | typing.SupportsIndex | None = None, repetition_penalty: typing.SupportsFloat | typing.SupportsIndex = 1.0, frequency_penalty: typing.SupportsFloat | typing.SupportsIndex = 0.0, presence_penalty: typing.SupportsFloat | typing.SupportsIndex = 0.0, logit_bias: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]] = [], min_tokens: typing.SupportsInt | typing.SupportsIndex = 0, ignore_eos: bool = False, logprobs: typing.SupportsInt | typing.SupportsIndex | None = None, prompt_logprobs: typing.SupportsInt | typing.SupportsIndex | None = None, stop: collections.abc.Sequence[str] = [], stop_token_ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [], score: bool = False, priority: typing.SupportsInt | typing.SupportsIndex = 0, guided: bool = False, tenant: str = '', deadline: typing.SupportsFloat | typing.SupportsIndex | None = None, filters: dict = {}, lora: str = '', pooling: str | None = None) -> None:
        """
        lora: the name of an adapter, or none. filters: of typical_p, top_n_sigma, xtc_*, mirostat*, dry_*, those that are on. pooling: of kind embed, mean, cls or last; None for the model's own.
        """
    def unload_adapter(self, name: str) -> None:
        """
        Requests that run keep it to their end.
        """
    def wait(self, seconds: typing.SupportsFloat | typing.SupportsIndex) -> list[Output]:
        """
        As drain, but waits for outputs first, that long at most.
        """
    @property
    def fd(self) -> int:
        """
        Readable while outputs are queued.
        """
    @property
    def forked(self) -> bool:
        """
        Whether this process is a fork of the one that has the engine's thread: then abort and close do nothing, and what needs the engine raises.
        """
    @property
    def info(self) -> ModelInfo:
        ...
class GGUFTensor:
    """
    A tensor of a GGUF file: everything but its bytes.
    """
    def __repr__(self) -> str:
        ...
    @property
    def file_offset(self) -> int:
        """
        Of the first byte, from the start of its part.
        """
    @property
    def n_bytes(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def part(self) -> int:
        """
        Index into GGUFFile.paths.
        """
    @property
    def shape(self) -> tuple:
        """
        In GGUF order: shape[0] is the length of a row.
        """
    @property
    def type(self) -> str:
        """
        The format's name, such as 'F32' or 'Q4_K'.
        """
class GGUFFile:
    """
    A GGUF file, version 2 or 3, mapped into memory and checked when it is opened. Of a split model (name-00001-of-0000N.gguf) all parts are opened, whichever is named.
    """
    @staticmethod
    def from_bytes(data: typing.Any) -> GGUFFile:
        """
        Reads a copy of a bytes-like object. Raises GGUFError as the constructor does.
        """
    def __init__(self, path: os.PathLike | str | bytes) -> None:
        """
        Raises GGUFError if the file is missing, damaged or not GGUF.
        """
    def get(self, key: str, default: typing.Any = None) -> typing.Any:
        """
        The value of one key, as in metadata.
        """
    def keys(self) -> list:
        """
        In file order.
        """
    def tensor_bytes(self, name: str) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]:
        """
        The tensor's bytes as stored: a read-only uint8 array of shape (n_bytes,), a view that keeps the file open. Raises ModelError if there is no such tensor.
        """
    def value_type(self, key: str) -> tuple:
        """
        (type, is_array): GGUF's number for the type of a value or of an array's elements. Raises ModelError if there is no such key.
        """
    @property
    def file_bytes(self) -> int:
        """
        The sizes of all parts together.
        """
    @property
    def metadata(self) -> dict:
        """
        All keys and values, of the first part. Numbers are int or float, arrays of numbers and booleans NumPy arrays (1-D copies), arrays of strings lists of str. Bytes that are not UTF-8 become surrogates ('surrogateescape').
        """
    @property
    def paths(self) -> list[pathlib.Path]:
        """
        Of all parts; empty if from memory.
        """
    @property
    def tensors(self) -> list:
        """
        Of all parts, in file order.
        """
    @property
    def version(self) -> int:
        ...
class ThreadPool:
    """
    Threads that share a kernel's rows; one caller at a time.
    """
    def __init__(self, n_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class KernelCall:
    """
    One kernel with operands of its own; see llmcore.kernels.
    """
    @staticmethod
    def attention(name: str, q: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], k: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], v: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], scale: typing.SupportsFloat | typing.SupportsIndex, softcap: typing.SupportsFloat | typing.SupportsIndex, window: typing.SupportsInt | typing.SupportsIndex, causal: bool = True) -> KernelCall:
        ...
    @staticmethod
    def glu(name: str, gate: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], up: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None, activation: str) -> KernelCall:
        ...
    @staticmethod
    def kv_store(name: str, k: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], v: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> KernelCall:
        ...
    @staticmethod
    def layer_norm(name: str, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], bias: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None, eps: typing.SupportsFloat | typing.SupportsIndex) -> KernelCall:
        ...
    @staticmethod
    def linear(name: str, weight: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8], x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], copies: typing.SupportsInt | typing.SupportsIndex = 1) -> KernelCall:
        ...
    @staticmethod
    def norm(name: str, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], eps: typing.SupportsFloat | typing.SupportsIndex) -> KernelCall:
        ...
    @staticmethod
    def pack(name: str, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> KernelCall:
        ...
    @staticmethod
    def peak(name: str, size: typing.SupportsInt | typing.SupportsIndex) -> KernelCall:
        ...
    @staticmethod
    def rope(name: str, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], positions: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], inv_freq: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], style: str) -> KernelCall:
        ...
    @staticmethod
    def row_blocks(name: str, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], max: typing.SupportsFloat | typing.SupportsIndex, scale: typing.SupportsFloat | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex) -> KernelCall:
        ...
    def output(self) -> numpy.typing.NDArray[numpy.uint8]:
        """
        What the kernel wrote, as bytes.
        """
    def run(self, pool: ThreadPool) -> None:
        """
        All rows once.
        """
    def time(self, pool: ThreadPool, repeats: typing.SupportsInt | typing.SupportsIndex, least_seconds: typing.SupportsFloat | typing.SupportsIndex) -> list[float]:
        """
        Seconds of a run, of each sample.
        """
class KvTiers:
    """
    What KV blocks become that leave the cache.
    """
    def __init__(self, n_blocks: typing.SupportsInt | typing.SupportsIndex, block_bytes: typing.SupportsInt | typing.SupportsIndex, *, ram_bytes: typing.SupportsInt | typing.SupportsIndex = 0, folder: os.PathLike | str | bytes | None = None, folder_bytes: typing.SupportsInt | typing.SupportsIndex = 8589934592, model: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def fetch(self, key: typing.SupportsInt | typing.SupportsIndex, block: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def get(self, block: typing.SupportsInt | typing.SupportsIndex) -> bytes:
        ...
    def keep(self, key: typing.SupportsInt | typing.SupportsIndex, block: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def leaving(self, block: typing.SupportsInt | typing.SupportsIndex, key: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def restore(self, key: typing.SupportsInt | typing.SupportsIndex, block: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def restore_kept(self, key: typing.SupportsInt | typing.SupportsIndex, block: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def save(self, blocks: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]]) -> None:
        ...
    def set(self, block: typing.SupportsInt | typing.SupportsIndex, contents: bytes) -> None:
        ...
    @property
    def stats(self) -> list[int]:
        """
        Blocks spilled to and restored from memory, then the folder.
        """
    @property
    def warning(self) -> str:
        ...
class Sampler:
    """
    Chooses the tokens of one sequence.
    """
    def __init__(self, *, seed: typing.SupportsInt | typing.SupportsIndex, temperature: typing.SupportsFloat | typing.SupportsIndex = 1.0, top_k: typing.SupportsInt | typing.SupportsIndex = 0, top_p: typing.SupportsFloat | typing.SupportsIndex = 1.0, min_p: typing.SupportsFloat | typing.SupportsIndex = 0.0, repetition_penalty: typing.SupportsFloat | typing.SupportsIndex = 1.0, frequency_penalty: typing.SupportsFloat | typing.SupportsIndex = 0.0, presence_penalty: typing.SupportsFloat | typing.SupportsIndex = 0.0, prompt: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [], filters: dict = {}) -> None:
        ...
    def next(self, logits: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> int:
        ...
class BlockPool:
    """
    KV blocks: which are free, and how often the others are held.
    """
    def __init__(self, n_blocks: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def publish(self, block: typing.SupportsInt | typing.SupportsIndex, key: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def publish_part(self, block: typing.SupportsInt | typing.SupportsIndex, key: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def ref_count(self, block: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    def release(self, block: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def retain(self, block: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def reuse(self, key: typing.SupportsInt | typing.SupportsIndex) -> int | None:
        ...
    def take(self) -> int:
        ...
    @property
    def capacity(self) -> int:
        ...
    @property
    def free_blocks(self) -> int:
        ...
    @property
    def published_blocks(self) -> int:
        ...
    @property
    def used_blocks(self) -> int:
        ...
class Scheduler:
    """
    Decides each step: which sequences run, and how many tokens of each.
    """
    def __init__(self, *, n_ctx: typing.SupportsInt | typing.SupportsIndex, block_tokens: typing.SupportsInt | typing.SupportsIndex, n_blocks: typing.SupportsInt | typing.SupportsIndex, max_batch: typing.SupportsInt | typing.SupportsIndex, max_step_tokens: typing.SupportsInt | typing.SupportsIndex, max_logit_rows: typing.SupportsInt | typing.SupportsIndex, mixed_prompt_tokens: typing.SupportsInt | typing.SupportsIndex = 256, room_to_grow: typing.SupportsInt | typing.SupportsIndex = 64, reuses_prefixes: bool = True, whole_prompts: bool = False, brief_prompt_tokens: typing.SupportsInt | typing.SupportsIndex = 128, part_tokens: typing.SupportsInt | typing.SupportsIndex = 0, copy_block: collections.abc.Callable[[int, int], None] | None = None) -> None:
        ...
    def add(self, id: typing.SupportsInt | typing.SupportsIndex, n_prompt: typing.SupportsInt | typing.SupportsIndex, max_new_tokens: typing.SupportsInt | typing.SupportsIndex, *, all_rows: bool = False, pooling: bool = False, priority: typing.SupportsInt | typing.SupportsIndex = 0, tenant: typing.SupportsInt | typing.SupportsIndex = 0, keys: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = []) -> None:
        """
        keys: names of the prompt up to the end of each of its parts.
        """
    def advance(self, id: typing.SupportsInt | typing.SupportsIndex, n_tokens: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def append_token(self, id: typing.SupportsInt | typing.SupportsIndex, key: typing.SupportsInt | typing.SupportsIndex | None = None) -> None:
        """
        key: of the text up to the token where it ends a part.
        """
    def blocks(self, id: typing.SupportsInt | typing.SupportsIndex) -> list[int]:
        ...
    def cached_tokens(self, id: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    def finish(self, id: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def limit_mixed_prompt(self, n_tokens: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def propose(self, id: typing.SupportsInt | typing.SupportsIndex, n_tokens: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def ref_count(self, block: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    def reused_tokens(self, id: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    def schedule(self) -> list[tuple[int, int]]:
        """
        The next step as (sequence, number of tokens).
        """
    @property
    def has_work(self) -> bool:
        ...
    @property
    def preemptions(self) -> int:
        ...
    @property
    def prompts(self) -> int:
        ...
    @property
    def reads_brief_prompt(self) -> bool:
        ...
    @property
    def running(self) -> int:
        ...
    @property
    def used_blocks(self) -> int:
        ...
    @property
    def waiting(self) -> int:
        ...
class Vocabulary:
    """
    The bytes each token stands for, and which tokens end a turn.
    """
    def __init__(self, file: GGUFFile) -> None:
        ...
    def __len__(self) -> int:
        ...
    def decode(self, tokens: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], with_control: bool = False) -> bytes:
        """
        The bytes of a whole sequence, without a first word's leading space.
        """
    def ends_generation(self, token: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def text_bytes(self, token: typing.SupportsInt | typing.SupportsIndex) -> bytes:
        """
        What the token adds to the text; nothing for a control token.
        """
    def token_bytes(self, token: typing.SupportsInt | typing.SupportsIndex) -> bytes:
        """
        As text_bytes, but a control token's own name.
        """
    def token_type(self, token: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        GGUF's token type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
        """
    @property
    def end_tokens(self) -> list[int]:
        ...
    @property
    def size(self) -> int:
        ...
    @property
    def strips_first_space(self) -> bool:
        ...
    @property
    def token_types(self) -> numpy.typing.NDArray[numpy.uint8]:
        ...
class Utf8Assembler:
    """
    Joins bytes into text that never splits a character.
    """
    def __init__(self) -> None:
        ...
    def flush(self) -> str:
        ...
    def push(self, bytes: bytes) -> str:
        ...
class StopMatcher:
    """
    Ends text at a stop string; holds back what may begin one.
    """
    def __init__(self, stops: collections.abc.Sequence[str]) -> None:
        ...
    def flush(self) -> str:
        ...
    def push(self, text: str) -> str:
        ...
    @property
    def matched(self) -> str:
        ...
    @property
    def stopped(self) -> bool:
        ...
class PieceEncoder:
    """
    Token ids for vocabularies of SentencePiece's kind.
    """
    def __init__(self, file: GGUFFile, vocabulary: Vocabulary) -> None:
        ...
    def encode_batch(self, texts: list, continues: bool = False) -> list[list[int]]:
        """
        Ids of each text, without BOS or EOS; no text becomes a control token. `continues`: another text precedes each, so that no space is put in front.
        """
class ByteLevelEncoder:
    """
    Token ids for byte-level vocabularies, from words already found.
    """
    def __init__(self, file: GGUFFile, vocabulary: Vocabulary, whole_words: bool) -> None:
        ...
    def cut(self, text: str) -> tuple:
        """
        A text's user-defined tokens, and what lies around them: one part more.
        """
    def encode(self, bytes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> list[int]:
        """
        Ids of a text's bytes; 256 is added to the last byte of each word.
        """
    @property
    def alphabet(self) -> list[str]:
        """
        The characters that pieces write bytes with, by byte.
        """
    @property
    def has_user_defined(self) -> bool:
        ...
def byte_pair_tables(file: GGUFFile, vocabulary: Vocabulary) -> tuple:
    """
    Ids by text (dict[str, int]) and merges (list[tuple[str, str]]) of what text can become.
    """
def cuda_status() -> dict:
    """
    The CUDA backend as this process finds it: library (its path, empty without one), usable, reason (if not usable), name, total_bytes, free_bytes, compute_capability (such as 9.0) and multiprocessors.
    """
def dequantize(type_name: str, data: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8], n: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    Expands n elements of the format from a uint8 array; returns float32 of shape (n,), bit for bit what gguf.quants.dequantize computes. Raises InvalidArgumentError for an unknown name or a size that does not fit, ModelError for a format that cannot be dequantized.
    """
def formats() -> list:
    """
    Every tensor format of GGUF: a list of dicts with type (int), name, block_elements, block_bytes, can_dequantize and can_quantize.
    """
def kernels() -> list:
    """
    Every kernel of this build: name, op, isa, format, act_layout, out_layout, usable (on this machine).
    """
def linear_kernel(format: str, m: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, k: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    The kernel for m activation rows times an n x k matrix, without measured choices.
    """
def machine() -> dict:
    """
    The processor's name, the highest instruction set found and allowed (LLMCORE_ISA), all that can be named there, the lowest first, and the usable processors.
    """
def quantize(type_name: str, values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.uint8]:
    """
    Writes a float32 matrix (rows, columns) in the format, with scales that minimise the squared error; returns uint8 of shape (rows, bytes of a row). Other threads run meanwhile. Raises InvalidArgumentError for an unknown name, columns that are not whole blocks, a NaN or an infinity, ModelError for a format that cannot be written.
    """
def tokenizer_kind(file: GGUFFile) -> str:
    """
    How a file's vocabulary writes text: tokenizer.ggml.model, but for a few names.
    """
def uniform_draw(seed: typing.SupportsInt | typing.SupportsIndex, place: typing.SupportsInt | typing.SupportsIndex) -> float:
    """
    The number in [0, 1) that a sequence's token at `place` is drawn with.
    """
__version__: str = '0.1.0'
