"""The Helm chart: what it makes is what the Kustomize overlays have, and what other values make is valid."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from support.manifests import EXAMPLES, REPOSITORY, read, schemas

CHART = REPOSITORY / "examples" / "helm" / "pinnace"
IMAGE = "registry.example.com/resnet50:1"

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def template(*values: str, name: str = "pinnace") -> subprocess.CompletedProcess[str]:
    line = ["helm", "template", name, CHART, *(part for value in values for part in ("--set", value))]
    return subprocess.run(line, capture_output=True, text=True)


def objects(*values: str, name: str = "pinnace") -> dict[str, Any]:
    done = template(*values, name=name)
    assert done.returncode == 0, done.stderr
    return {one["kind"]: one for one in yaml.safe_load_all(done.stdout) if one}


def overlay(name: str) -> dict[str, Any]:
    folders = EXAMPLES / "base", EXAMPLES / "overlays" / name
    files = (path for folder in folders for path in folder.glob("*.yaml") if path.stem != "adapter-values")
    found = {one["kind"]: one for path in files for one in read(path)}
    del found["Kustomization"]
    return found


@needs_helm
@pytest.mark.parametrize(
    ("name", "values"), [("hpa", ()), ("keda", ("autoscaler.kind=keda", "monitoring=true"))]
)
def test_it_makes_what_the_overlay_has(name: str, values: tuple[str, ...]) -> None:
    assert objects(f"image={IMAGE}", *values) == overlay(name)


@needs_helm
def test_what_other_values_make_is_valid_and_of_the_release() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate comes with `dev`")
    given = ("image=here/there:2", "keys=who-may-ask", "settings.PINNACE_MAX_PIXELS=50000000")
    more = ("autoscaler.max=40", "autoscaler.imagesInFlight=8", "resources.limits.cpu=4", "monitoring=true")
    made = objects(*given, *more, name="cats")
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        validate.validate(made[kind], "1.37", strict=True)
    known = schemas()
    for kind in ("ServiceMonitor", "PrometheusRule"):
        one = made[kind]
        jsonschema.Draft202012Validator(known[f"{one['apiVersion']} {kind}"]).validate(one)
    assert {one["metadata"]["name"] for one in made.values()} == {"cats"}
    pod = made["Deployment"]["spec"]["template"]
    assert made["Service"]["spec"]["selector"] == pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    environment = {one["name"]: one for one in container["env"]}
    assert environment["PINNACE_MAX_PIXELS"]["value"] == "50000000"
    assert environment["PINNACE_API_KEYS"]["valueFrom"]["secretKeyRef"]["name"] == "who-may-ask"
    assert container["image"] == "here/there:2"
    assert container["resources"]["limits"] == {"cpu": 4, "memory": "2Gi"}
    assert made["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 40
    alerts = yaml.safe_dump(made["PrometheusRule"], width=10_000)
    assert 'job="cats"' in alerts
    assert 'job="pinnace"' not in alerts


@needs_helm
def test_what_is_missing_or_unknown_is_said() -> None:
    assert "image: of the bento, such as" in template().stderr
    assert "autoscaler.kind: hpa, keda or none" in template(f"image={IMAGE}", "autoscaler.kind=vpa").stderr
    assert "HorizontalPodAutoscaler" not in objects(f"image={IMAGE}", "autoscaler.kind=none")


@needs_helm
def test_helm_finds_nothing_wrong_with_it() -> None:
    line = ["helm", "lint", "--strict", CHART, "--set", f"image={IMAGE}"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_alerts_are_those_of_the_overlay() -> None:
    alerts = [read(folder / "alerts.yaml") for folder in (CHART, EXAMPLES / "overlays" / "keda")]
    assert alerts[0] == alerts[1]
