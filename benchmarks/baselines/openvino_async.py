"""The upper limit without a server: threads decode photos, and OpenVINO's AsyncInferQueue answers them.

As OpenVINO's documents advise for throughput: the hint THROUGHPUT, and as many requests in flight as it suggests.
Usage: openvino_async.py SECONDS
"""

import itertools
import json
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import openvino
from common import THREADS, photos
from openvino_network import Network, decode


def main() -> None:
    contents = [path.read_bytes() for path in photos()]
    seconds, answers = float(sys.argv[1]), deque(maxlen=1)
    queue = openvino.AsyncInferQueue(Network(hint="THROUGHPUT").model)
    queue.set_callback(lambda request, _: answers.append(request.get_output_tensor(0).data.argmax()))
    source = itertools.cycle(contents)
    with ThreadPoolExecutor(THREADS) as pool:
        pending = deque(pool.submit(decode, next(source)) for _ in range(4 * THREADS))

        def run(until: float) -> int:
            count = 0
            while time.perf_counter() < until:
                queue.start_async([pending.popleft().result()[None]])
                pending.append(pool.submit(decode, next(source)))
                count += 1
            queue.wait_all()
            return count

        run(time.perf_counter() + seconds / 4)
        begin = time.perf_counter()
        count = run(begin + seconds)
        sys.stdout.write(json.dumps({"rate": count / (time.perf_counter() - begin)}) + "\n")


if __name__ == "__main__":
    main()
