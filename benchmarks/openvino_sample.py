"""One sample of OpenVINO GenAI's speed on a GGUF file, as one line of JSON; `benchmarks.compare` runs it.

    python -m benchmarks.openvino_sample MODEL.gguf -p 512 -n 32 -t 2 --n-vocab 32000

Prompts are fresh random ids in each run, for the pipeline keeps prefixes. Without -n, prefill: prompt tokens
over the time to the first token; with it, decode: generated tokens over the time behind the first.
"""

import argparse
import json
import os
import time

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=0)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--n-vocab", type=int, required=True)
    options = parser.parse_args()

    import openvino  # noqa: PLC0415 - where it is installed; --help needs none of it
    import openvino_genai  # noqa: PLC0415

    pipeline = openvino_genai.LLMPipeline(options.model, "CPU", INFERENCE_NUM_THREADS=options.threads)
    random = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))

    def seconds(n_prompt: int, new_tokens: int) -> float:
        ids = random.integers(3, options.n_vocab, (1, n_prompt), dtype=np.int64)
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.ignore_eos = True
        config.do_sample = False
        start = time.perf_counter()
        tokens = pipeline.generate(openvino.Tensor(ids), config).tokens[0]
        took = time.perf_counter() - start
        if len(tokens) != new_tokens:
            raise SystemExit(f"{len(tokens)} tokens instead of {new_tokens}")
        return took

    seconds(min(options.n_prompt, 16), 2)  # compiles what the first run needs
    if options.n_gen == 0:
        tps = options.n_prompt / seconds(options.n_prompt, 1)
    else:
        first = seconds(options.n_prompt, 1)
        tps = options.n_gen / (seconds(options.n_prompt, options.n_gen + 1) - first)
    print(json.dumps({"tps": tps}))


if __name__ == "__main__":
    main()
