"""What a change costs: this checkout against an earlier commit of it, in one run and in turns.

    python benchmarks/against.py COMMIT [--rounds N]

Both versions run in the interpreter of this process, each with the model that its own `prepare.py` makes of the same
photos and weights. Measured are the time from a file to its answer, for several kinds of files, and requests
to a server of one worker. Wall-clock and processor time are both given: the latter holds on a busy machine.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from client import Request, Requests, closed_loop
from PIL import Image
from processes import Place
from servers import running

ROOT = Path(__file__).resolve().parents[1]
_CONCURRENCY = 8
_TICKS = os.sysconf("SC_CLK_TCK")

# Answers every line of its input, a folder, with the seconds that a pass over its photos takes.
_PASSES = """
import json, sys, time
from pathlib import Path
from assay.inference import Classifier

classifier = Classifier.load(sys.argv[1])
for line in sys.stdin:
    photos = sorted(Path(line.strip()).iterdir())
    wall, cpu = time.perf_counter(), time.process_time()
    for photo in photos:
        classifier.predict(photo)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
"""

Figures = dict[str, dict[str, list[float]]]
"""By what was measured and by version: one figure a round."""


class Version(NamedTuple):
    """A version of the project and the model that it is measured with."""

    source: Path
    model: Path


def prepare(root: Path, place: Place) -> Version:
    """Make photos and models with a version's own `prepare.py`."""
    environment = {**place.environment(), "PYTHONPATH": str(root / "src")}
    command = [sys.executable, str(root / "benchmarks" / "prepare.py"), str(place.work)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    return Version(root / "src", place.work / "whole.assay")


def unpack(commit: str, folder: Path) -> Path:
    """Write a commit's sources and benchmarks into a folder and return it."""
    folder.mkdir()
    packed = folder / "commit.tar"
    command = ["git", "-C", str(ROOT), "archive", "-o", str(packed), commit, "src", "benchmarks"]
    subprocess.run(command, check=True)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    packed.unlink()
    return folder


def variants(photos: Path, folder: Path) -> dict[str, Path]:
    """Return folders of photos by kind, made of the JPEG photos of one."""
    kinds: dict[str, tuple[tuple[int, int] | None, str, dict[str, object]]] = {
        "JPEG 1080x1920": (None, "jpg", {"quality": 92}),
        "progressive JPEG": (None, "jpg", {"quality": 92, "progressive": True}),
        "PNG 540x960": ((540, 960), "png", {}),
        "JPEG 32x32": ((32, 32), "jpg", {"quality": 92}),
        "PNG 32x32": ((32, 32), "png", {}),
    }
    found = {}
    for number, (kind, (size, suffix, options)) in enumerate(kinds.items()):
        found[kind] = folder / str(number)
        found[kind].mkdir(parents=True)
        for path in sorted(photos.iterdir()):
            with Image.open(path) as image:
                whole = image.convert("RGB")
            (whole.resize(size) if size else whole).save(found[kind] / f"{path.stem}.{suffix}", **options)
    return found


@contextmanager
def passes(python_path: Path, model: Path, place: Place) -> Iterator[Callable[[Path], list[float]]]:
    """Start a process that answers folders of photos; give a function from folder to wall and CPU time."""
    environment = {**place.environment(), "PYTHONPATH": str(python_path)}
    command = [sys.executable, "-c", _PASSES, str(model)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        to, back = _pipe(process.stdin), _pipe(process.stdout)

        def ask(folder: Path) -> list[float]:
            to.write(f"{folder}\n")
            to.flush()
            seconds: list[float] = json.loads(back.readline())
            return seconds

        yield ask
        to.close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 - both are pipes
    return stream


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def load(port: int, pid: int, make: Callable[[], Request], seconds: float) -> tuple[float, float]:
    """Load a server; return the wall-clock and the server's processor seconds of a request."""
    before = processor_seconds(pid)
    outcome = asyncio.run(closed_loop(port, make, _CONCURRENCY, seconds))
    count = len(outcome.latencies.get(200, []))
    if set(outcome.latencies) != {200}:
        raise SystemExit(f"the server answered {outcome.counts()} instead of 200 alone")
    return outcome.seconds / count, (processor_seconds(pid) - before) / count


def files(versions: dict[str, Version], place: Place, rounds: int, figures: Figures) -> None:
    """Measure from file to answer."""
    kinds = variants(place.work / "photos", place.work / "kinds")
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(passes(version.source, version.model, place))
            for name, version in versions.items()
        }
        for turn in range(rounds + 1):
            for kind, folder in kinds.items():
                for name, ask in asks.items():
                    for clock, seconds in zip(("wall", "CPU"), ask(folder), strict=True):
                        if turn:  # the first one warms up
                            figures[f"{kind}, {clock}"][name].append(seconds)


def requests(versions: dict[str, Version], place: Place, rounds: int, figures: Figures) -> None:
    """Measure requests to a server."""
    photos = Requests(sorted((place.work / "photos").glob("*.jpg")))
    with ExitStack() as stack:
        servers = {}
        for name, (source, model) in versions.items():
            # `-P` and this line put the version before anything that is installed.
            start = f"import sys; sys.path.insert(0, {str(source)!r}); from assay.cli.main import main; main()"
            command = [sys.executable, "-P", "-c", start, "serve", str(model), "--port", "PORT", "--no-auth"]
            servers[name] = stack.enter_context(running([*command, "--request-log", "none"], place, photos))
        for turn in range(rounds + 1):
            for kind, make in {"requests, no hits": photos.fresh, "requests, all hits": photos.same}.items():
                for name, (port, pid) in servers.items():
                    for clock, seconds in zip(("wall", "CPU"), load(port, pid, make, 1.5), strict=True):
                        if turn:
                            figures[f"{kind}, {clock}"][name].append(seconds)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as scratch:
        before = unpack(arguments.commit, Path(scratch) / "before")
        versions = {}
        for name, root in {"before": before, "now": ROOT}.items():
            place = Place(Path(scratch) / f"work of {name}")
            place.work.mkdir()
            versions[name] = prepare(root, place)
        files(versions, place, arguments.rounds, figures)
        requests(versions, place, arguments.rounds, figures)
    print(f"{'':<28}{'before':>10}{'now':>10}{'now/before':>12}   quartiles")
    for what, found in figures.items():
        ratios = [now / then for then, now in zip(found["before"], found["now"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        then, now = (1e3 * statistics.median(found[name]) for name in ("before", "now"))
        print(f"{what:<28}{then:>8.2f}ms{now:>8.2f}ms{middle:>12.3f}   {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
