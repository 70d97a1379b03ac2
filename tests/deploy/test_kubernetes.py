"""Every overlay is rendered by kustomize and valid for the API of old and new versions of Kubernetes."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import find_program

from assay import __version__

pytestmark = pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed")

Objects = dict[str, dict[str, Any]]
"""Objects by kind."""

OVERLAYS = ("small", "production", "region-eu", "region-us")
VERSIONS = ("1.32", "1.37")


@pytest.fixture(scope="module")
def rendered() -> dict[str, Objects]:
    """What each overlay creates."""
    folder = Path(__file__).parents[2] / "deploy/kubernetes/overlays"
    kubectl, result = find_program("kubectl"), {}
    for name in OVERLAYS:
        run = subprocess.run([kubectl, "kustomize", folder / name], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        found = list(yaml.safe_load_all(run.stdout))
        result[name] = {item["kind"]: item for item in found}
        assert len(result[name]) == len(found)
    return result


def pod(objects: Objects) -> dict[str, Any]:
    result: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return result


def test_all_overlays_are_tested(deploy: Path):
    assert {path.name for path in (deploy / "kubernetes/overlays").iterdir()} == set(OVERLAYS)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid_in_the_api(rendered: dict[str, Objects], version: str):
    import kubernetes_validate  # noqa: PLC0415

    for name, objects in rendered.items():
        for kind, item in objects.items():
            assert kubernetes_validate.validate(item, version, strict=True), (name, kind)


def test_validation_finds_a_wrong_field(rendered: dict[str, Objects]):
    import kubernetes_validate  # noqa: PLC0415

    item = yaml.safe_load(yaml.safe_dump(rendered["production"]["HorizontalPodAutoscaler"]))
    item["spec"]["minReplica"] = item["spec"].pop("minReplicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="minReplica"):
        kubernetes_validate.validate(item, VERSIONS[0], strict=True)


def test_objects_have_one_namespace_and_no_unset_part(rendered: dict[str, Objects]):
    for name, objects in rendered.items():
        for kind, item in objects.items():
            if kind != "Namespace":
                assert item["metadata"]["namespace"] == "assay", (name, kind)
        volumes = {volume["name"] for volume in pod(objects)["volumes"]}
        for container in pod(objects)["containers"] + pod(objects)["initContainers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert set(container["resources"]) == {"requests", "limits"}


def test_servers_are_spread_over_zones(rendered: dict[str, Objects]):
    for name, objects in rendered.items():
        spread = {item["topologyKey"]: item for item in pod(objects)["topologySpreadConstraints"]}
        assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert len(spread) == len(pod(objects)["topologySpreadConstraints"])
        zone = spread["topology.kubernetes.io/zone"]
        if name == "small":
            assert zone["whenUnsatisfiable"] == "ScheduleAnyway"
        else:
            assert (zone["whenUnsatisfiable"], zone["minDomains"], zone["maxSkew"]) == ("DoNotSchedule", 3, 1)
            assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] % zone["minDomains"] == 0


def test_scaling_and_disruptions_leave_servers(rendered: dict[str, Objects]):
    for objects in rendered.values():
        scaling = objects["HorizontalPodAutoscaler"]["spec"]
        assert scaling["minReplicas"] < scaling["maxReplicas"]
        assert len(scaling["metrics"]) == 3
        assert "replicas" not in objects["Deployment"]["spec"]
        most = objects["PodDisruptionBudget"]["spec"]["maxUnavailable"]
        lost = int(most.removesuffix("%")) / 100 * scaling["minReplicas"] if isinstance(most, str) else most
        assert lost <= scaling["minReplicas"]
        assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_production_pins_the_image_and_publishes_no_internal_route(rendered: dict[str, Objects]):
    for name in set(OVERLAYS) - {"small"}:
        objects = rendered[name]
        containers = pod(objects)["containers"] + pod(objects)["initContainers"]
        assert {item["image"] for item in containers} == {f"registry.example/assay:{__version__}"}
        (rule,) = objects["Ingress"]["spec"]["rules"]
        paths = {item["path"] for item in rule["http"]["paths"]}
        assert "/classify" in paths
        assert not paths & {"/", "/metrics", "/admin", "/live", "/ready"}
        for item in rule["http"]["paths"]:
            assert item["backend"]["service"]["name"] == objects["Service"]["metadata"]["name"]


def test_network_allows_what_the_servers_use(rendered: dict[str, Objects]):
    for name, objects in rendered.items():
        spec = objects["NetworkPolicy"]["spec"]
        assert spec["podSelector"]["matchLabels"] == objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
        allowed = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        assert allowed == {53, 6379, 27017, 4318} | (set() if name == "small" else {443})


def test_regions_differ_in_name_and_registry_only(rendered: dict[str, Objects]):
    def text(name: str) -> str:
        return yaml.safe_dump(rendered[name])

    assert text("region-eu") != text("region-us")
    assert text("region-eu").replace("-eu.", "-us.").replace("REGION: eu", "REGION: us") == text("region-us")
    for name in ("region-eu", "region-us"):
        assert rendered[name]["ConfigMap"]["data"]["ASSAY_SERVE_REQUEST_LOG__REGION"] == name[-2:]


@pytest.mark.parametrize("damaged", [False, True])
def test_bundle_is_downloaded_and_verified(rendered: dict[str, Objects], tmp_path: Path, damaged: bool):
    content = b"a bundle"
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "sha256").mkdir()
    (tmp_path / f"sha256/{digest}.assay").write_bytes(b"another one" if damaged else content)
    (init,) = [item for item in pod(rendered["production"])["initContainers"] if item["name"] == "bundle"]
    assert init["command"][:2] == ["python", "-c"]
    target = tmp_path / "model.assay"
    script = init["command"][2].replace("/models/model.assay", str(target))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = {"BUNDLE_REGISTRY": f"http://127.0.0.1:{server.server_port}", "BUNDLE_SHA256": digest}
        assert set(settings) == {item["name"] for item in init["env"]}
        run = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        server.shutdown()
        thread.join()
    assert (run.returncode == 0) is not damaged, run.stderr
    assert target.exists() is not damaged
