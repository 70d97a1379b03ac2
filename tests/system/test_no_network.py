"""No command uses the network: system calls of whole commands are traced, including native libraries."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from services import find_program

from assay.core.no_telemetry import VARIABLES

_NETWORK = "connect,sendto,sendmsg,sendmmsg"
_FILES = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink"
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr|inet_pton\(AF_INET6, |sin6_addr=)[^"]*"([^"]+)"')
_OPENED = re.compile(r'open(?:at)?\((?:[^"<]*(?:<([^>]*)>)?, )?"([^"]*)", ([A-Z_|]+).* = \d+<([^>]*)>')
_MADE = re.compile(r'(?:mkdir(?:at)?|rename(?:at2?)?|creat|link|symlink)\(.*"([^"]*)"[^"]*\) += 0$')
_WRITTEN = re.compile("O_CREAT|O_WRONLY|O_RDWR|O_TMPFILE")

_USE = """
import re, signal, subprocess, sys, urllib.request
from pathlib import Path

photos, photo = sys.argv[1:]
assay = [sys.executable, "-m", "assay"]


def run(*arguments):
    subprocess.run([*assay, *arguments], check=True)


small = ["preprocess.size=32", "train.epochs=1", "train.workers=1", "train.batch_size=16", "serve.int8=false"]
net = "net.resnet={block: basic, layers: [1], widths: [16], stem: conv3}"
sets = [word for one in [*small, net, "augment.train=[{name: horizontal_flip}]"] for word in ("--set", one)]
run("train", photos, "-r", "custom-resnet", "--run", "run", *sets)
formats = ["--format", "onnx", "--format", "openvino"]
run("export", "run/model.assay", "--to", "exported", "--check", photo, *formats)
for engine in ("openvino", "onnxruntime"):
    run("predict", "run/model.assay", photo, "--engine", engine)
run("evaluate", "run/model.assay", photos, "--out", "evaluated")
command = [*assay, "serve", "run/model.assay", "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
    said = ""
    while not (found := re.search(r"http://[^ ]+", said)):
        line = server.stdout.readline()
        assert line, said
        said += line
    body = Path(photo).read_bytes()
    head = b'--x\\r\\nContent-Disposition: form-data; name="image"; filename="a.png"\\r\\n\\r\\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{found[0]}/classify", head + body + b"\\r\\n--x--\\r\\n", form)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
"""


class NetworkCalls(NamedTuple):
    """What processes did that concerns others."""

    lookups: list[str]
    connections: list[str]
    files: list[str]
    """Files and folders written outside the folders that are allowed."""


def _local(address: str) -> bool:
    return ip_address(address).is_loopback


def _audit(command: Sequence[object], home: Path, work: Path) -> NetworkCalls:
    """Run a command in `work` with a home of its own, and report what it did."""
    log, temporary = home.parent / "calls", home.parent / "tmp"
    for folder in (home, temporary, work):
        folder.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    wanted = ["-f", "--seccomp-bpf", "-y", "-s", "300", "-e", f"trace={_NETWORK},{_FILES}"]
    words = [str(word) for word in (find_program("strace"), *wanted, "-o", log, *command)]
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("this machine lets no process be traced")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(temporary.iterdir()) == []
    allowed = [str(item) for item in (work, temporary, home / ".cache/assay", home / ".local/state/assay")]
    return _seen(log.read_text(encoding="utf-8", errors="replace").splitlines(), work, allowed)


def _seen(lines: Sequence[str], work: Path, allowed: Sequence[str]) -> NetworkCalls:
    seen = NetworkCalls([], [], [])
    # The folders above what is allowed must be made, too.
    parents = {str(parent) for item in allowed for parent in Path(item).parents}
    for line in lines:
        if "resolv.conf" in line:
            seen.lookups.append(line)
        if (found := _ADDRESS.search(line)) is not None:
            port, address = found.groups()
            if port == "53":
                seen.lookups.append(line)
            # Port 9 (discard) and 0 over UDP are used to find the own address: nothing is sent.
            elif not _local(address):
                seen.connections.append(line)
        path = None
        if (opened := _OPENED.search(line)) is not None and _WRITTEN.search(opened[3]):
            path = opened[4]
        elif (made := _MADE.search(line)) is not None:
            path = os.path.normpath(work / made[1])
        if path is None or path in parents or path.startswith(("/dev/", "/proc/", "pipe:", "socket:")):
            continue
        if not any(path == item or path.startswith(f"{item}/") for item in allowed):
            seen.files.append(line)
    return seen


@pytest.mark.slow
def test_commands_use_no_network(colours: Path, tmp_path: Path) -> None:
    script = tmp_path / "use.py"
    script.write_text(_USE, encoding="utf-8")
    command = [sys.executable, script, colours, colours / "red" / "001.png"]
    seen = _audit(command, tmp_path / "home", tmp_path / "work")
    assert seen == ([], [], [])
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {".cache", ".local"}
    assert [path.name for path in (tmp_path / "home" / ".cache").iterdir()] == ["assay"]


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("import socket\ntry: socket.getaddrinfo('assay.invalid', 80)\nexcept OSError: pass", "lookups"),
        ("import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 53))", "lookups"),
        ("import socket; socket.socket(2, 2).connect(('192.0.2.1', 80))", "connections"),
        ("import socket; socket.socket(10, 2).connect_ex(('2001:db8::1', 80))", "connections"),
        ("from pathlib import Path; (Path.home() / 'x').touch()", "files"),
        ("from pathlib import Path; (Path.home() / '.cache/Microsoft').mkdir(parents=True)", "files"),
        ("from pathlib import Path; Path('a').touch(); Path('a').rename(Path.home() / 'x')", "files"),
    ],
)
def test_audit_detects_network_calls(script: str, what: str, tmp_path: Path) -> None:
    seen = _audit([sys.executable, "-c", script], tmp_path / "home", tmp_path / "work")
    assert [name for name in NetworkCalls._fields if getattr(seen, name)] == [what]


def test_importing_assay_disables_usage_reports() -> None:
    script = (
        "import os, assay, sys, openvino, onnxruntime\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        f"assert {VARIABLES!r}.items() <= os.environ.items()"
    )
    theirs = dict.fromkeys(VARIABLES, "other")
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **theirs}, check=True)
