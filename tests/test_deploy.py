"""What stands in examples/deploy is what the server is: its port, its routes, its settings, and no more rights than it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from learnkit.serve import app
from learnkit.serve.cli import KEY
from tests.serve.fakes import FakeTable

DEPLOY = Path(__file__).parents[1] / "examples/deploy"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def containers() -> list[dict[str, Any]]:
    deployment = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    return [*deployment["containers"], *documents("kserve.yaml")[0]["spec"]["predictor"]["containers"]]


def test_probes_ask_routes_that_the_server_has():
    paths = [
        one[probe]["httpGet"]["path"]
        for one in containers()
        for probe in ("readinessProbe", "livenessProbe")
        if probe in one
    ]
    known = [route.path for route in app({"model": FakeTable()}).routes]  # type: ignore[attr-defined]
    assert len(paths) == 3
    for path in paths:
        assert path.replace("/model/", "/{name}/") in known


def test_port_key_and_rights():
    for one in containers():
        assert [port["containerPort"] for port in one["ports"]] == [8000]
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
    deployment, service = documents("kubernetes.yaml")
    assert containers()[0]["env"][0]["name"] == KEY
    pod = deployment["spec"]["template"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    assert service["spec"]["ports"][0]["targetPort"] == pod["spec"]["containers"][0]["ports"][0]["name"]


def test_the_dockerfile_follows_the_rules_of_its_trade():
    text = (DEPLOY / "Dockerfile").read_text()
    steps = re.findall(r"^([A-Z]+)", re.sub(r"\\\n", "", text), re.MULTILINE)
    assert steps == ["FROM", "RUN", "COPY", "RUN", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"]
    assert re.search(r"^FROM python:3\.\d+-slim$", text, re.MULTILINE)  # a version, not the latest
    assert text.count("--no-cache-dir") == text.count("pip install")
    assert re.search(r"^USER [1-9]\d+$", text, re.MULTILINE)
    assert re.search(
        r'^ENTRYPOINT \["learnkit", "serve", "--host", "0\.0\.0\.0", "--port", "8000"\]$', text, re.MULTILINE
    )


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python-multipart", "prometheus-client", "onnxruntime"])
def test_the_image_has_what_the_server_needs(package):
    floors = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    found = re.search(rf'"({package}>=[\d.]+)"', floors)
    assert found is not None
    assert f'"{found[1]}"' in (DEPLOY / "Dockerfile").read_text()
