"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true of the server."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pinnace.serving.http.openapi.document import describe
from pinnace.serving.http.route_families import route_table
from pinnace.serving.settings import ServerSettings, environment_variable, load_settings

REPOSITORY = Path(__file__).parents[3]
FILE = REPOSITORY / "examples" / "kubernetes" / "pinnace.yaml"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(FILE.read_text(encoding="utf-8"))}


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
    assert [port["containerPort"] for port in container["ports"]] == [ServerSettings().port]
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
