"""How fast this machine reads memory: the ceiling of decoding, where every weight is read once a token.

Each thread takes the maximum of its own large array of 32-bit integers, which NumPy computes with vector
instructions and without the GIL. It is a lower bound: no prefetching, pages as the system grants them, and
whatever else the machine is doing. Take the best of several sweeps, made between the runs they judge.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_SWEEPS = 3


def read_bandwidth(threads: int = 2, total_bytes: int = 1280 << 20) -> float:
    """GB/s (1e9 bytes) of the best sweep over `total_bytes`, shared out among the threads."""
    count = total_bytes // threads // 4
    with ThreadPoolExecutor(threads) as pool:
        arrays = list(pool.map(lambda value: np.full(count, value, np.int32), range(threads)))
        best = 0.0
        for _ in range(_SWEEPS):
            start = time.perf_counter()
            maxima = list(pool.map(np.max, arrays))
            seconds = time.perf_counter() - start
            assert maxima == list(range(threads))
            best = max(best, threads * count * 4 / seconds / 1e9)
    return best
