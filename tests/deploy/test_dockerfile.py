"""The image: small, unprivileged, pinned, with a health check."""

import json
import re
import subprocess
import sys
import threading
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

Instruction = tuple[str, str]


@pytest.fixture
def instructions(deploy: Path) -> list[Instruction]:
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        found.append((word, " ".join(rest.split())))
    return found


def values(instructions: list[Instruction], name: str) -> list[str]:
    return [rest for word, rest in instructions if word == name]


def test_image_runs_as_an_unprivileged_user(instructions: list[Instruction]):
    last = max(row for row, (word, _) in enumerate(instructions) if word == "FROM")
    final = instructions[last:]
    (user,) = values(final, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)  # a number, so that runAsNonRoot can be checked
    order = [word for word, _ in final]
    assert order.index("USER") < order.index("ENTRYPOINT")
    (prepared,) = values(final, "RUN")
    assert f"--owner {user.partition(':')[0]} " in prepared  # of the spool, the one volume it writes to
    assert not [rest for word, rest in final if word == "RUN" and ("apt" in rest or "pip" in rest)]


def test_versions_are_pinned_and_torch_is_not_installed(instructions: list[Instruction]):
    (install,) = [rest for rest in values(instructions, "RUN") if "pip install" in rest]
    assert "-c constraints.txt" in install
    extras = re.findall(r"\.\[([\w,]+)\]", install)
    assert extras == ["serve,otel"]
    assert "ADD" not in dict(instructions)
    (version,) = values(instructions, "ARG")
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", version)


def test_copied_files_exist_and_are_not_ignored(deploy: Path, instructions: list[Instruction]):
    rules = (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    for rest in values(instructions, "COPY"):
        *sources, _ = rest.split()
        if sources[0].startswith("--from"):
            continue
        for source in sources:
            assert (deploy.parent / source).exists()
            kept = False
            for rule in rules:
                if fnmatch(source, rule.removeprefix("!")):
                    kept = rule.startswith("!")
            assert kept, f"{source} is ignored"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check_reports_the_health(instructions: list[Instruction], status: int, code: int):
    (check,) = values(instructions, "HEALTHCHECK")
    _, script = json.loads(check.partition("CMD ")[2])[1:]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/health"
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = script.replace(":8000/", f":{server.server_port}/")
        assert here != script
        run = subprocess.run([sys.executable, "-c", here], capture_output=True, check=False)
        server.shutdown()
        thread.join()
    assert run.returncode == code
