"""deploy.sh with a stand-in for `docker` that records its arguments; secrets are created by the real programs."""

import json
import os
import shutil
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from services import find_program

_DOCKER = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
with open({log!r}, "a", encoding="utf-8") as log:
    log.write(json.dumps(arguments) + "\\n")
if os.environ["FAILING"] in arguments:
    sys.exit("the stand-in was told to fail")
if "create" in arguments:  # in the image; a volume is a folder here
    volume = arguments[arguments.index("--volume") + 1]
    rest = arguments[arguments.index("assay:latest") + 1 :]
    rest[rest.index("/keys")] = volume.removesuffix(":/keys")
    sys.exit(subprocess.run([{assay!r}, *rest]).returncode)
"""


@dataclass
class Script:
    """A copy of `deploy/` in which the script runs."""

    folder: Path
    bundle: Path
    log: Path
    programs: Path

    def run(self, *arguments: str | Path, failing: str = "") -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "FAILING": failing}
        command = ["bash", self.folder / "deploy.sh", *(arguments or [self.bundle])]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=self.folder.parent)

    def calls(self) -> list[list[str]]:
        """What docker was asked since the last call of this method."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def files(self) -> dict[str, bytes]:
        """Everything in the folder that a run may change; Assay's lock file left out."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
def script(deploy: Path, tmp_path: Path) -> Script:
    find_program("openssl")
    folder, programs = tmp_path / "deploy", tmp_path / "programs"
    programs.mkdir()
    shutil.copytree(deploy, folder, ignore=shutil.ignore_patterns("models", "keys", "certs", "*.key", "*password"))
    log, assay = tmp_path / "calls", Path(sys.executable).with_name("assay")
    stand_in = programs / "docker"
    stand_in.write_text(_DOCKER.format(python=sys.executable, log=str(log), assay=str(assay)), encoding="utf-8")
    stand_in.chmod(0o755)
    bundle = tmp_path / "bottles v2.assay"
    bundle.write_bytes(b"a bundle")
    return Script(folder, bundle, log, programs)


def named(calls: list[list[str]]) -> list[str]:
    """The calls, each as its last words without options and paths."""
    words = ("build", "info", "create", "sh", "up", "kill", "restart", "exec", "version")
    return [next(word for word in words if word in call) for call in calls]


def test_first_run_creates_all_files_and_starts_the_services(script: Script):
    result = script.run()
    assert result.returncode == 0, result.stderr
    calls = script.calls()
    assert named(calls) == ["version", "build", "info", "create", "create", "sh", "up", "kill", "exec"]
    assert f"{script.bundle}:/new.assay:ro" in calls[2]
    compose = ["compose", "--file", str(script.folder / "compose.yaml")]
    assert calls[6] == [*compose, "up", "--detach"]
    assert calls[7] == [*compose, "kill", "--signal", "SIGHUP", "assay"]
    assert (script.folder / "models/model.assay").read_bytes() == script.bundle.read_bytes()
    keys = [(script.folder / name).read_text(encoding="utf-8") for name in ("client.key", "metrics.key")]
    assert all(key.startswith("ak_") and key.count("\n") == 1 for key in keys)
    stored = json.loads((script.folder / "keys/keys.json").read_text(encoding="utf-8"))
    assert len(json.dumps(stored).split("ak_")) == 3
    context = ssl.create_default_context(cafile=script.folder / "certificate.pem")
    assert context.get_ca_certs()[0]["subjectAltName"] == (("DNS", "localhost"),)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(script.folder / "certs/assay.pem")
    for name in ("client.key", "metrics.key", "grafana-password", "certs/assay.pem", "keys/master.keys"):
        assert (script.folder / name).stat().st_mode & 0o777 == 0o600, name
    assert (script.folder / "models/model.assay").stat().st_mode & 0o777 == 0o644  # read by user 10001
    assert not [key for key in keys if key.strip() in result.stdout + result.stderr]


def test_all_created_files_are_ignored_by_git_and_given_to_their_service(script: Script, deploy: Path):
    before = set(script.files())
    assert script.run().returncode == 0
    created = {f"/{name.partition('/')[0]}" for name in set(script.files()) - before}
    assert created == set((deploy / ".gitignore").read_text(encoding="utf-8").split())
    (owners,) = [call[-1] for call in script.calls() if "sh" in call]
    for line in ("10001:10001 /deploy/keys", "99:99 /deploy/certs/assay.pem", "65534:65534 /deploy/metrics.key"):
        assert line in owners


def test_second_run_changes_nothing(script: Script):
    assert script.run().returncode == 0
    before = script.files()
    script.calls()
    assert script.run().returncode == 0
    assert script.files() == before
    assert named(script.calls()) == ["version", "build", "info", "sh", "up", "exec"]


def test_new_bundle_is_installed_and_loaded(script: Script):
    assert script.run().returncode == 0
    script.calls()
    script.bundle.write_bytes(b"a better bundle")
    assert script.run().returncode == 0
    assert named(script.calls()) == ["version", "build", "info", "sh", "up", "kill", "exec"]
    assert (script.folder / "models/model.assay").read_bytes() == b"a better bundle"


def test_refused_bundle_does_not_replace_the_old_one(script: Script):
    assert script.run().returncode == 0
    before = script.files()
    script.calls()
    script.bundle.write_bytes(b"damaged")
    assert script.run(failing="/new.assay").returncode != 0
    assert script.files() == before
    assert named(script.calls()) == ["version", "build", "info"]


@pytest.mark.parametrize("step", ["metrics", "--detach"])
def test_run_after_a_failure_completes_it(script: Script, step: str):
    assert script.run(failing=step).returncode != 0
    kept = {name: content for name, content in script.files().items() if name in {"client.key", "certs/assay.pem"}}
    assert "client.key" in kept
    assert not [name for name in script.files() if name.endswith(".new")]
    assert script.run().returncode == 0
    assert kept.items() <= script.files().items()
    assert (script.folder / "metrics.key").stat().st_size


def test_own_certificate_is_installed_and_replaced(script: Script, tmp_path: Path):
    def make(name: str) -> list[str | Path]:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        command = ["openssl", "req", "-x509", *options, "-keyout", key, "-out", cert]
        subprocess.run(command, check=True, capture_output=True)
        return ["--cert", cert, "--key", key, script.bundle]

    assert script.run(*make("one")).returncode == 0
    assert named(script.calls())[-2:] == ["restart", "exec"]
    first = (script.folder / "certs/assay.pem").read_bytes()
    assert first == (tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes()
    assert script.run().returncode == 0
    assert "restart" not in named(script.calls())
    assert script.run(*make("two")).returncode == 0
    assert "restart" in named(script.calls())
    assert (script.folder / "certs/assay.pem").read_bytes() != first


def test_dry_run_prints_the_commands_and_does_nothing(script: Script):
    before = script.files()
    result = script.run("--dry-run", script.bundle)
    assert result.returncode == 0, result.stderr
    assert (script.calls(), script.files()) == ([], before)
    shown = [line for line in result.stdout.splitlines() if line.startswith("  'docker'")]
    assert script.run().returncode == 0
    real = [call for call in script.calls() if "version" not in call]
    assert len(shown) == len(real)
    assert all(word in line for line, call in zip(shown, real, strict=True) for word in call if "\n" not in word)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "a b"], "--host a b: a host name has letters"),
        (["--unknown"], "--unknown is not an option"),
        (["missing.assay"], "missing.assay: there is no such file"),
        (["--tier"], "--tier needs a value"),
        (["--cert", "missing.pem"], "--cert and --key must name two existing files"),
    ],
)
def test_wrong_usage_is_explained(script: Script, arguments: list[str], sentence: str):
    given: list[str | Path] = list(arguments)
    result = script.run(*given, *([script.bundle] if arguments[0] in {"--host", "--cert"} else []))
    assert result.returncode == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert script.calls() == []


def test_missing_docker_is_explained(script: Script, tmp_path: Path):
    (script.programs / "docker").unlink()
    for name in ("bash", "dirname", "basename", "openssl", "env"):
        (script.programs / name).symlink_to(find_program(name))
    result = subprocess.run(
        ["bash", script.folder / "deploy.sh", script.bundle],
        env={"PATH": str(script.programs)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "docker is not installed" in result.stderr


def test_help_lists_every_option(script: Script):
    text = script.run("--help").stdout
    source = (script.folder / "deploy.sh").read_text(encoding="utf-8")
    for option in ("--host", "--cert", "--key", "--client", "--tier", "--dry-run", "--help"):
        assert option in text
        assert source.count(option) >= 2
