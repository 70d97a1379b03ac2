"""All benchmarks in one command: `make bench`, or `python benchmarks/run.py --only NAME --quick`.

Makes what the contenders share in a temporary folder, runs one benchmark after the other, and writes `RESULTS.md` and
`RESULTS.json` after each. Results of other classes of processors are kept; with `--only`, also those of the other
benchmarks if they were measured on the same machine with the same versions. A failure is reported with its reason;
the others go on.
"""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from processes import HERE, BenchmarkError, Place, processors_in_use, rivals_python
from processor_class import CLASSES, own_class
from results import ClassResults, Section, read_results, write_results
from suite import BENCHMARKS, summary

from assay.benchmark.runner import machine_info

_VERSIONS = "import importlib.metadata as m, sys; print(' '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 where something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="may be given several times")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all?")
    parser.add_argument("--no-rivals", action="store_true", help="only the plain baselines")
    parser.add_argument(
        "--isa",
        choices=[name for name, entry in CLASSES.items() if entry.limit],
        help="limit all programs to this class",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for RESULTS.md and RESULTS.json")
    wanted = parser.parse_args(arguments)
    chosen = [name for name in BENCHMARKS if not wanted.only or name in wanted.only]
    known = machine_info()
    own = own_class(known["features"])
    processor = wanted.isa or own
    limited = processor != own
    if list(CLASSES).index(processor) < list(CLASSES).index(own):
        parser.error(f"this processor has no {CLASSES[processor].feature}")
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="assay-bench-", ignore_cleanup_errors=True) as scratch:
        place = Place(
            Path(scratch), quick=wanted.quick, rivals=not wanted.no_rivals, processor=processor, limited=limited
        )
        _say("photos, weights, bundles")
        subprocess.run(
            [sys.executable, "-W", "ignore", HERE / "prepare.py", scratch],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        about = _machine(known)
        if limited:
            about["instructions limited to"] = CLASSES[processor].name
            # This process classifies too: what requests are compared with.
            os.environ.update(CLASSES[processor].limit)
        whole = not (wanted.quick or wanted.no_rivals)
        kept = _earlier(wanted.out, processor, about) if wanted.only and whole else {}
        for number, name in enumerate(chosen):
            _say(f"{number + 1} of {len(chosen)}: {name}")
            kept[name] = _section(name, place)
            failures += kept[name].failures
            sections = tuple(kept[name] for name in BENCHMARKS if name in kept)
            write_results(wanted.out, ClassResults(processor, about, _options(wanted), sections))
    _say(f"{wanted.out / 'RESULTS.md'} is written; {len(failures)} measurements failed")
    return 1 if failures else 0


def _section(name: str, place: Place) -> Section:
    benchmark, before, begin = BENCHMARKS[name], processors_in_use(), time.perf_counter()

    def section(**values: Any) -> Section:
        seconds, date = time.perf_counter() - begin, time.strftime("%Y-%m-%d %H:%M %Z")
        load = (before, processors_in_use())
        return Section(name, benchmark.title, date, seconds=seconds, load=load, **values)

    try:
        found = benchmark.run(place, lambda text: _say(f"  {name}: {text}"))
    # Whatever a benchmark stumbles over, the others must go on.
    except (BenchmarkError, OSError, ValueError, KeyError, RuntimeError) as error:
        _say(f"  {name} failed: {error}")
        return section(rows=(), failures=(f"{name}: {error}",))
    for line in (*found.failures, *summary(found.rows).splitlines()):
        _say(line)
    return section(rows=tuple(found.rows), failures=found.failures, raw=found.raw)


def _earlier(folder: Path, processor: str, about: dict[str, Any]) -> dict[str, Section]:
    """Return the earlier results of the same class, machine and versions."""
    found = (item for item in read_results(folder) if item.processor == processor and item.machine == about)
    return {section.name: section for item in found for section in item.sections}


def _machine(known: dict[str, Any]) -> dict[str, Any]:
    names = ("torch", "openvino", "onnxruntime", "pillow", "numpy")
    about = {
        "processor": f"{known['processor']}, {known['processors']['usable']} usable ({', '.join(known['features'])})",
        "system": known["system"],
        "Python": platform.python_version(),
        "libraries": " ".join(f"{name} {version(name)}" for name in ("assay", *names)),
    }
    with contextlib.suppress(BenchmarkError, subprocess.CalledProcessError):
        rivals = ("torch", "torchvision", "onnxruntime", "openvino", "pillow", "fastai", "ultralytics")
        servers = ("flask", "waitress", "litserve", "bentoml", "ray", "starlette", "uvicorn")
        result = subprocess.run(
            [rivals_python(), "-c", _VERSIONS, *rivals, *servers], check=True, capture_output=True, text=True
        )
        about["libraries of the baselines"] = result.stdout.strip()
    return about


def _options(wanted: argparse.Namespace) -> str:
    given = ["--quick"] * wanted.quick + ["--no-rivals"] * wanted.no_rivals
    return f"; measured with {' '.join(given)}" if given else ""


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
