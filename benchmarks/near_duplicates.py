"""Memory and time of the search for near-duplicate candidates among up to a million synthetic photos.

    python benchmarks/near_duplicates.py --photos 10000 100000 1000000

The photos are random fields with the spectrum of photographs (amplitude 1/f); half of them belong to one of 1,000
scenes with which they share half of their variance, as photos of an inspection line do. One percent are copies of
others: cropped by up to 5 % at a corner, brighter or darker, with noise. Every number of photos runs in a process of
its own, whose peak memory is the figure; it includes the thumbnails. Recall is measured twice: of the planted copies,
and of the pairs that an exact search finds for 500 of the photos.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from processes import run_json

from assay.data import near_duplicate_candidates
from assay.data.near_duplicate_candidates import COLOUR_THUMBNAIL_SIDE, find_candidates

_SIDE = 32
_BLOCK = 10_000
_SCENES = 1000
_COPIES = 0.01
_SAMPLE = 500
_NEIGHBOURS, _FLOOR, _CLOSE = 10, 0.6, 0.8

Array = np.ndarray


def random_fields(rng: np.random.Generator, count: int) -> Array:
    """Return fields of zero mean and unit variance with an amplitude of 1/f, float32 [count, 32, 32, 3]."""
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None])
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((2, count, 3, *frequency.shape), np.float32)
    fields = np.fft.irfft2((noise[0] + 1j * noise[1]) / frequency.astype(np.float32), (_SIDE, _SIDE)).astype(np.float32)
    fields[:, 1:] = 0.9 * fields[:, :1] + 0.45 * fields[:, 1:]  # colour channels are correlated
    fields -= fields.mean((2, 3), keepdims=True)
    fields /= fields.std((2, 3), keepdims=True)
    return fields.transpose(0, 2, 3, 1)


def averaging(start: float, stop: float) -> Array:
    """Return a matrix [16, 32] that averages the rows from `start` to `stop`, shares of the side, into 16."""
    edges = np.linspace(start, stop, COLOUR_THUMBNAIL_SIDE + 1) * _SIDE
    rows = np.arange(_SIDE)
    overlap = (np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows)).clip(0)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def to_thumbnails(fields: Array, rows: Array, columns: Array) -> Array:
    """Return uint8 thumbnails [N, 16, 16, 3] of fields; the matrices are those of `averaging`."""
    small = np.einsum("ri,nijc,sj->nrsc", rows, fields, columns, optimize=True)
    return (128 + 45 * small).clip(0, 255).round().astype(np.uint8)


def synthetic(count: int) -> tuple[Array, int]:
    """Return thumbnails, and how many of the last are copies of the first ones."""
    scenes = random_fields(np.random.default_rng(0), _SCENES)
    copies = max(int(_COPIES * count), 1)
    thumbnails = np.empty((count, COLOUR_THUMBNAIL_SIDE, COLOUR_THUMBNAIL_SIDE, 3), np.uint8)
    whole = averaging(0, 1)
    for start in range(0, count - copies, _BLOCK):
        rng = np.random.default_rng((1, start))
        stop = min(start + _BLOCK, count - copies)
        fields = random_fields(rng, stop - start)
        chosen = np.flatnonzero(rng.random(len(fields)) < 0.5)
        own, scene = fields[chosen], scenes[rng.integers(_SCENES, size=len(chosen))]
        fields[chosen] = np.sqrt(0.5) * own + np.sqrt(0.5) * scene
        thumbnails[start:stop] = to_thumbnails(fields, whole, whole)
        for number in range(start, min(stop, copies)):
            cut = rng.uniform(0, 0.05, 2)
            spans = [(share, 1.0) if rng.random() < 0.5 else (0.0, 1 - share) for share in cut]
            field = fields[number - start : number - start + 1] * rng.uniform(0.8, 1.2)
            field = field + rng.normal(0, 0.05, field.shape).astype(np.float32)
            copy = to_thumbnails(field, averaging(*spans[0]), averaging(*spans[1]))
            thumbnails[count - copies + number] = copy[0]
    return thumbnails, copies


def exact_pairs(thumbnails: Array, sample: Array) -> dict[tuple[int, int], float]:
    """Return the pairs of some photos with their nearest neighbours among all photos, and their cosines."""
    module = near_duplicate_candidates
    plain, views = module._descriptors(thumbnails, mirrored=False)  # noqa: SLF001 - the exact search is not offered for so many
    found = [
        module._similar_pairs(plain, views, sample, np.arange(start, min(start + _BLOCK, len(plain))), _FLOOR)  # noqa: SLF001
        for start in range(0, len(plain), _BLOCK)
    ]
    best = module._keep_best(np.concatenate(found), _NEIGHBOURS)  # noqa: SLF001
    return {(min(a, b), max(a, b)): cosine for a, b, cosine in best.tolist()}


def measure(count: int) -> dict[str, float]:
    """Return the figures for a number of photos."""
    thumbnails, copies = synthetic(count)
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = find_candidates(thumbnails, neighbours=_NEIGHBOURS, floor=_FLOOR).pairs
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    codes = np.sort(pairs[:, 0] * count + pairs[:, 1])

    def share_found(wanted: Array) -> float:
        values = wanted[:, 0] * count + wanted[:, 1]
        place = np.searchsorted(codes, values).clip(max=len(codes) - 1)
        return float((codes[place] == values).mean())

    planted = np.stack([np.arange(copies), np.arange(count - copies, count)], axis=1)
    sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    cosines = exact_pairs(thumbnails, sample)
    exact = np.array(list(cosines), np.int64)
    close = exact[np.array(list(cosines.values())) >= _CLOSE]
    return {
        "photos": count,
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_mib": peak,
        "pairs": len(pairs),
        "recall_planted": share_found(planted),
        "exact_pairs": len(exact),
        "recall_exact": share_found(exact),
        "close_pairs": len(close),
        "recall_close": share_found(close),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the search for near-duplicate candidates.")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.photos[0])))
        return
    columns = ("photos", "seconds", "CPU seconds", "peak memory, MiB", "candidates")
    print(f"| {' | '.join(columns)} | recall: copies | recall: exact search | cosine ≥ {_CLOSE} |")
    print("|---|---|---|---|---|---|---|---|")
    for count in given.photos:
        command = [sys.executable, str(Path(__file__)), "--here", "--photos", str(count)]
        found = run_json(command, os.environ, timeout=3600)
        print(
            f"| {count:,} | {found['seconds']:.0f} | {found['cpu_seconds']:.0f} | {found['peak_mib']:,.0f} "
            f"| {found['pairs']:,.0f} | {found['recall_planted']:.3f} "
            f"| {found['recall_exact']:.3f} of {found['exact_pairs']:,.0f} "
            f"| {found['recall_close']:.3f} of {found['close_pairs']:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
