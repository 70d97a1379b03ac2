"""Photos read and decoded by threads, ahead of a network that is busy with earlier ones.

Knows nothing of models: photos in, batches of pixels out, in order.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from assay.image import Preprocess
from assay.inference.cpus import cpu_count
from assay.inference.inputs import Photo, read_photo, source_of
from assay.inference.prediction import Failure

Read = tuple[str | None, np.ndarray | Failure]
"""A photo's path, if it has one, and its pixels, uint8 [S, S, 3], or why there are none."""


def read_ahead(photos: Iterable[Photo], preprocess: Preprocess, batch_size: int) -> Iterator[list[Read]]:
    """Read photos in parallel and give them in batches, in their order.

    At most two batches lie ready or in work besides the one that was given last, so memory does not grow with
    the number of photos. Threads suffice: decoding leaves the interpreter free.

    Args:
        photos: read in the caller's thread, as far ahead as photos are decoded.
        preprocess: from a decoded photo to the network's pixels.
        batch_size: photos a batch; the last may be smaller.

    Yields:
        Lists of 1 to `batch_size` photos.
    """
    numbered = enumerate(photos)
    pending: deque[tuple[str | None, Future[np.ndarray | Failure]]] = deque()
    pool = ThreadPoolExecutor(cpu_count(), thread_name_prefix="assay-read")

    def submit(count: int) -> None:
        for place, photo in islice(numbered, count):
            pending.append((source_of(photo), pool.submit(read_photo, photo, preprocess, place)))

    try:
        submit(2 * batch_size)
        while pending:
            batch = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
            submit(len(batch))
            yield [(source, future.result()) for source, future in batch]
    finally:
        pool.shutdown(cancel_futures=True)
