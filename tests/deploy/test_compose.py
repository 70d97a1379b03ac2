"""Compose and Kubernetes files agree: names, ports, paths, settings and files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from assay.serving.request_log.serialization import COLUMNS
from assay.serving.settings import PREFIX, ServeSettings

Compose = dict[str, Any]
Manifests = dict[str, dict[str, Any]]
CREATED_BY_THE_SCRIPT = {"./models", "./keys", "./certs", "./metrics.key", "./grafana-password"}


def setting_of(name: str) -> Any:
    """Return the type of the setting that a variable sets."""
    fields = ServeSettings.model_fields
    *parents, last = name.removeprefix(PREFIX).lower().split("__")
    for parent in parents:
        kind = fields[parent].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        fields = kind.model_fields
    return fields[last].annotation


def variables(compose: Compose, manifests: Manifests, deploy: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = dict(compose["services"]["assay"]["environment"])
    found |= manifests["ConfigMap"]["data"]
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    found |= {item["name"]: None for item in container["env"]}
    found |= dict(re.findall(rf"({PREFIX}\w+)=(\S+)", (deploy / "Dockerfile").read_text(encoding="utf-8")))
    return found


def test_every_variable_is_a_setting(
    compose: Compose, manifests: Manifests, deploy: Path, monkeypatch: pytest.MonkeyPatch
):
    found = variables(compose, manifests, deploy)
    assert len(found) >= 8
    for name, value in found.items():
        assert setting_of(name) is not None
        if value is not None:
            monkeypatch.setenv(name, value)
    settings = ServeSettings.read({})
    assert settings.listen.host == "0.0.0.0"  # noqa: S104 - inside a container
    assert settings.auth.required


def test_services_refer_to_existing_services(compose: Compose):
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in compose["volumes"], volume
    addresses = compose["services"]["assay"]["environment"]
    hosts = re.findall(r"//([\w,-]+)[:/]", " ".join(addresses.values()))
    assert {host for group in hosts for host in group.split(",")} <= set(services)
    shared = set(services["assay"]["networks"])
    for name in ("haproxy", "prometheus", "redis", "mongo-1"):
        assert shared & set(services[name]["networks"]), name


def test_mounted_files_exist(compose: Compose, deploy: Path):
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./") and source not in CREATED_BY_THE_SCRIPT:
                assert (deploy / source).is_file(), source
    ignored = (deploy / ".gitignore").read_text(encoding="utf-8").split()
    assert {f"/{name.removeprefix('./')}" for name in CREATED_BY_THE_SCRIPT} <= set(ignored)


def test_server_can_write_to_tmp_only(compose: Compose, manifests: Manifests):
    service = compose["services"]["assay"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {volume for volume in service["volumes"] if not volume.endswith(":ro")} == {"spool:/spool"}
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"] + pod["initContainers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_only_https_is_published(compose: Compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["443:8443"]
    assert compose["networks"]["stores"] == {"internal": True}
    for name in ("redis", "mongo-1", "mongo-2", "mongo-3"):
        assert compose["services"][name]["networks"] == ["stores"]


def test_images_are_pinned(compose: Compose):
    for name, service in compose["services"].items():
        if name != "assay":
            assert re.search(r":v?\d", service["image"]), name


def test_ports_and_paths_agree(compose: Compose, manifests: Manifests, deploy: Path):
    dockerfile = (deploy / "Dockerfile").read_text(encoding="utf-8")
    haproxy = (deploy / "haproxy.cfg").read_text(encoding="utf-8")
    prometheus = yaml.safe_load((deploy / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    assert "EXPOSE 8000" in dockerfile
    assert "assay:8000 check" in haproxy
    assert "bind :8443 ssl" in haproxy
    (discovered,) = jobs["assay"]["dns_sd_configs"]
    assert (discovered["names"], discovered["port"]) == (["assay"], 8000)
    assert jobs["haproxy"]["static_configs"] == [{"targets": ["haproxy:8404"]}]
    assert "bind :8404" in haproxy
    credentials = jobs["assay"]["authorization"]["credentials_file"]
    assert f"./metrics.key:{credentials}:ro" in compose["services"]["prometheus"]["volumes"]
    subnet = compose["networks"]["edge"]["ipam"]["config"][0]["subnet"]
    assert json.loads(compose["services"]["assay"]["environment"][f"{PREFIX}AUTH__PROXIES"]) == [subnet]

    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    (port,) = container["ports"]
    assert port["containerPort"] == 8000
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    for probe, path in (("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = manifests[kind]["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert selector.get("matchLabels", selector) == labels


def test_kustomize_includes_all_manifests(deploy: Path):
    folder = deploy / "kubernetes/base"
    result = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    there = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    assert set(result["resources"]) == there


def test_autoscaling_by_cpu_memory_and_queue(manifests: Manifests, deploy: Path):
    spec = manifests["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    assert "replicas" not in manifests["Deployment"]["spec"]  # each deploy would undo the autoscaler's work
    resources = {item["resource"]["name"] for item in spec["metrics"] if item["type"] == "Resource"}
    (own,) = [item["pods"]["metric"]["name"] for item in spec["metrics"] if item["type"] == "Pods"]
    adapter = yaml.safe_load((deploy / "kubernetes/prometheus-adapter.yaml").read_text(encoding="utf-8"))
    (rule,) = adapter["rules"]["custom"]
    assert resources == {"cpu", "memory"}
    assert own == rule["name"]["as"] == "assay_queue_length"


def test_termination_grace_period_is_long_enough(
    compose: Compose, manifests: Manifests, monkeypatch: pytest.MonkeyPatch
):
    settings = ServeSettings.read({}).lifecycle
    assert float(compose["services"]["assay"]["stop_grace_period"].removesuffix("s")) > (
        settings.drain_delay + settings.shutdown_timeout
    )
    for name, value in manifests["ConfigMap"]["data"].items():
        monkeypatch.setenv(name, value)
    settings = ServeSettings.read({}).lifecycle
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay + settings.shutdown_timeout
    # Readiness must have been seen to fail before nothing is accepted any more.
    probe = pod["containers"][0]["readinessProbe"]
    assert settings.drain_delay > 2 * probe["periodSeconds"] * probe["failureThreshold"]


def test_request_log_is_sharded_by_client_and_time(deploy: Path, compose: Compose):
    shard = (deploy / "mongo/shard.js").read_text(encoding="utf-8")
    mongo = pytest.importorskip("assay.serving.request_log.mongo_store")
    key = "{ client_id: 1, timestamp: 1 }"
    assert f'sh.shardCollection("assay.{mongo.COLLECTION}", {key})' in shard
    assert f"database.{mongo.COLLECTION}.createIndex({key})" in shard
    regions = (deploy / "mongo/regions.js").read_text(encoding="utf-8")
    assert f'sh.shardCollection("assay.{mongo.COLLECTION}", key)' in regions
    assert "const key = { region: 1, client_id: 1, timestamp: 1 };" in regions
    assert f"database.{mongo.COLLECTION}.createIndex(key)" in regions
    assert {"region", "client_id", "timestamp"} <= set(COLUMNS)
    members = json.loads(re.findall(r"\[[^\]]+\]", (deploy / "mongo/replica-set.js").read_text(encoding="utf-8"))[0])
    assert members == [name for name in compose["services"] if re.fullmatch(r"mongo-\d", name)]
    url = compose["services"]["assay"]["environment"][f"{PREFIX}REQUEST_LOG__URL"]
    assert url.startswith(f"mongodb://{','.join(members)}/assay?replicaSet=assay")
