"""How much processor time `assay predict --cluster ray` needs besides that of `assay predict` on the same processors.

Run as `python benchmarks/cluster.py MODEL --photos 4000`, with `ASSAY_DATA` the folder that holds `bottles.tar`, whose
20 photos of 1080 x 1920 are linked to under many names. In every round the three commands run in turn: one table,
partitions in one process, partitions by Ray. Their processor time is that of all processes that they start, Ray's
own included, since on a shared machine the wall clock measures the other programs. All classifiers have one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from predict_many import bottles

_MARK = "ASSAY_BENCHMARK_RUN"
_TICKS = os.sysconf("SC_CLK_TCK")
_INTERVAL = 0.1
_SHOWN = 12


class ProcessorTime:
    """Sums the processor time of all processes that have a variable in their environment."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{_MARK}={mark}".encode()
        self._seconds: dict[tuple[str, str], float] = {}
        self._known: dict[tuple[str, str], bool] = {}
        self._titles: dict[tuple[str, str], str] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Return the seconds of all processes, except for the last tenth of a second of each."""
        self._done.set()
        self._thread.join()
        return sum(self._seconds.values())

    def by_title(self) -> list[tuple[float, str]]:
        """Return the seconds by the titles of processes, most first; Ray sets titles such as `ray::MapWorker`."""
        totals: dict[str, float] = {}
        for key, seconds in self._seconds.items():
            totals[self._titles[key]] = totals.get(self._titles[key], 0) + seconds
        return sorted(((seconds, title) for title, seconds in totals.items()), reverse=True)

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    self._read(process)

    def _read(self, process: Path) -> None:
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            key = process.name, fields[19]  # start time: numbers of processes are reused
            if not self._known.get(key):
                self._known[key] = self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return
        if self._known[key]:
            self._seconds[key] = (int(fields[11]) + int(fields[12])) / _TICKS
            self._titles[key] = self._title(process) or self._titles.get(key, "")

    @staticmethod
    def _title(process: Path) -> str:
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return ""
        names = [word.rpartition("/")[2] for word in words if word and not word.startswith("-")]
        return names[0] if names and names[0].startswith("ray::") else " ".join(names[:2])[:40]


def run(name: str, command: list[str]) -> dict[str, float]:
    """Run a command; print the processor time of its processes; return their sum and the wall time in seconds."""
    begin = time.perf_counter()
    clock = ProcessorTime(name)
    subprocess.run(command, check=True, env={**os.environ, _MARK: name}, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begin
    seconds = clock.stop()
    for part, title in clock.by_title()[:_SHOWN]:
        print(f"  {part:7.1f} s  {title}")
    return {"processor": seconds, "wall": wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = scratch / "photos"
        folder.mkdir()
        originals = bottles(scratch)
        for number in range(chosen.photos):
            (folder / f"{number:06}.jpg").hardlink_to(originals[number % len(originals)])
        assay = [str(Path(sys.executable).with_name("assay")), "predict", str(chosen.model), str(folder)]
        options = ["--engine", "openvino", "--threads", "1"]
        for number in range(chosen.rounds):
            outs = {"table": f"{number}.parquet", "local": f"local-{number}", "ray": f"ray-{number}"}
            times = {}
            for kind, out in outs.items():
                cluster = [] if kind == "table" else ["--cluster", kind]
                command = [*assay, "--out", str(scratch / out), *options, *cluster]
                times[kind] = run(f"{kind}-{number}-{os.getpid()}", command)
                print(number, kind, json.dumps(times[kind]), flush=True)
            rounds.append(times)
    for kind in ("local", "ray"):
        shares = [times[kind]["processor"] / times["table"]["processor"] - 1 for times in rounds]
        seconds = statistics.median(times[kind]["processor"] for times in rounds)
        overhead = " to ".join(f"{share:+.1%}" for share in (min(shares), max(shares)))
        print(f"{kind}: {seconds:.1f} s, overhead {statistics.median(shares):+.1%} ({overhead})")


if __name__ == "__main__":
    main()
