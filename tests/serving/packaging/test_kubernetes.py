"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true of the server."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pinnace.serving.http.openapi.document import describe
from pinnace.serving.http.route_families import route_table
from pinnace.serving.settings import ServerSettings, environment_variable, load_settings
from support.manifests import EXAMPLES, custom_objects, read, schemas

REPOSITORY = Path(__file__).parents[3]
OWN = (
    "Kustomization",
    "ServiceMonitor",
    "PrometheusRule",
    "ScaledObject",
)  # Kubernetes knows nothing of them
ALERTS = EXAMPLES / "overlays" / "keda" / "alerts.yaml"


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    files = (path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.name != "adapter-values.yaml")
    return [one for path in files for one in read(path)]


@pytest.fixture(scope="module")
def objects(everything: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["kind"]: one for one in everything if one["kind"] not in OWN}


@pytest.fixture
def container(objects: dict[str, Any]) -> dict[str, Any]:
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_every_object_is_valid(objects: dict[str, Any], version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate comes with `dev`")
    assert set(objects) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    for one in objects.values():
        validate.validate(one, version, strict=True)


def test_the_schemas_would_find_a_misspelt_field(objects: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate comes with `dev`")
    wrong = copy.deepcopy(objects["Deployment"])
    container = wrong["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(validate.ValidationError, match="readynessProbe"):
        validate.validate(wrong, "1.37", strict=True)


def test_it_asks_for_routes_and_settings_that_there_are(
    objects: dict[str, Any], container: dict[str, Any]
) -> None:
    described = describe(route_table(), load_settings(), None).asdict()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in described
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    metrics = next(one["value"] for one in container["env"] if one["name"] == "PINNACE_METRICS_PORT")
    assert [port["containerPort"] for port in container["ports"]] == [ServerSettings().port, int(metrics)]
    assert {port["targetPort"] for port in objects["Service"]["spec"]["ports"]} == {"http", "metrics"}
    known = {environment_variable(name) for name in ServerSettings.model_fields}
    names = [one["name"] for one in container["env"]]
    assert {name for name in names if name.startswith("PINNACE_")} <= known
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f'Gauge("{name}"' in (REPOSITORY / "serving" / "observability" / "metrics.py").read_text(
        encoding="utf-8"
    )


def test_there_is_time_to_stop(objects: dict[str, Any], container: dict[str, Any]) -> None:
    values = {one["name"]: one.get("value") for one in container["env"]}
    settings = ServerSettings(drain=float(values["PINNACE_DRAIN"]))
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain + settings.grace


def test_every_selector_finds_the_pods(objects: dict[str, Any]) -> None:
    deployment = objects["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == objects["Deployment"]["metadata"]["name"]


def test_no_pod_may_more_than_it_needs(objects: dict[str, Any], container: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_what_operators_read_is_valid(everything: list[dict[str, Any]]) -> None:
    known = schemas()
    custom = [one for one in everything if one["kind"] in OWN[1:]]
    assert {one["kind"] for one in custom} == set(OWN[1:])
    for one in custom:
        validator = jsonschema.Draft202012Validator(known[f"{one['apiVersion']} {one['kind']}"])
        validator.validate(one)
        wrong = copy.deepcopy(one)
        wrong["spec"]["misspelt"] = wrong["spec"].popitem()[1]
        assert not validator.is_valid(wrong)
    assert {f"{one['apiVersion']} {one['kind']}" for one in custom_objects()} == set(known)


def test_every_metric_is_one_that_there_is() -> None:
    told = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
    names: set[str] = set()
    for path in EXAMPLES.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r"\b(?:pinnace|bentoml)_[a-z_]+(?=[{\",]|$)", text))
    names = {name.removesuffix("_bucket") for name in names}
    assert len(names) >= 4
    assert {name for name in names if f"`{name}`" not in told} == set()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", ["hpa", "keda"])
def test_kustomize_puts_an_overlay_together(overlay: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", EXAMPLES / "overlays" / overlay], check=True, capture_output=True, text=True
    ).stdout
    kinds = {one["kind"] for one in yaml.safe_load_all(built)}
    scaler = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}[overlay]
    assert {"Deployment", "Service", "PodDisruptionBudget", scaler} <= kinds


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_the_alerts_fire(tmp_path: Path) -> None:
    (alerts,) = read(ALERTS)
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": alerts["spec"]["groups"]}), encoding="utf-8")
    subprocess.run(["promtool", "check", "rules", rules], check=True, capture_output=True)
    shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)
    subprocess.run(
        ["promtool", "test", "rules", tmp_path / "alerts_test.yaml"], check=True, capture_output=True
    )
