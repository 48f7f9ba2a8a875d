"""The images nearest to other images, by the vectors that `pinnace embed` wrote. NumPy and nothing else.

pinnace embed photographs/ --bundle embedder.bundle -o index.npy
pinnace embed query.jpg --bundle embedder.bundle -o query.npy
python neighbours.py index.npy query.npy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

# So many vectors are compared at once, so that an index of any size fits in memory beside its similarities.
BLOCK = 65536


def read(path: Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Vectors of norm 1, shape (images, values), and the names of the images."""
    vectors = np.load(path, mmap_mode="r").astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    names = path.with_name(f"{path.stem}.names.txt").read_text("utf-8", "surrogateescape").splitlines()
    return vectors, names


def nearest(
    index: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The k vectors of the index with the largest cosine, for each query.

    Args:
        index: vectors of norm 1, shape (images, values).
        queries: vectors of norm 1, shape (queries, values).
        k: how many; all where there are fewer.

    Returns:
        Their rows in the index, and the cosines, each of shape (queries, k), the largest first.
    """
    k = min(k, len(index))
    rows = np.zeros((len(queries), 0), np.intp)
    cosines = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(index), BLOCK):
        found = queries @ index[start : start + BLOCK].T
        cosines = np.concatenate([cosines, found], axis=1)
        numbers = np.arange(start, start + found.shape[1])
        rows = np.concatenate([rows, np.broadcast_to(numbers, found.shape)], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        rows, cosines = np.take_along_axis(rows, best, 1), np.take_along_axis(cosines, best, 1)
    return rows, cosines


def main() -> None:
    parser = argparse.ArgumentParser(description="The images nearest to other images.")
    parser.add_argument("index", type=Path, help="vectors to search, .npy with .names.txt beside it")
    parser.add_argument("queries", type=Path, help="vectors to search for, likewise")
    parser.add_argument("-k", type=int, default=5, help="how many neighbours of each")
    arguments = parser.parse_args()
    index, names = read(arguments.index)
    queries, asked = read(arguments.queries)
    rows, cosines = nearest(index, queries, arguments.k)
    for name, found, close in zip(asked, rows, cosines, strict=True):
        print(name)
        for row, cosine in zip(found, close, strict=True):
            print(f"  {cosine:.4f}  {names[row]}")


if __name__ == "__main__":
    main()
