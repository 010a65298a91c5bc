"""The files that start clusters: Ray's own checks accept them, they start the jobs that exist, and no head is open to strangers."""

import copy
import os
import re
import shlex
from pathlib import Path
from runpy import run_path
from typing import Any

import jsonschema
import pytest
import yaml

from ray_ue.cli.commands import parse_arguments

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "jobs" / "kuberay").glob("*.yaml"))
JOBS = [path for path in MANIFESTS if path.name.startswith("rayjob-")]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOME = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1]


def manifest(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def cluster(path: Path) -> dict[str, Any]:
    """The Ray cluster of a RayCluster or RayJob manifest."""
    spec = manifest(path)["spec"]
    return spec.get("rayClusterSpec", spec)


def containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    return group["template"]["spec"]["containers"]


@pytest.fixture
def launched() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def refuse(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does first; raises what it would refuse the file with."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_up_accepts_the_cluster_and_installs_nothing(launched: dict[str, Any]) -> None:
    prepared = refuse(launched)
    assert not prepared["setup_commands"] + prepared["head_setup_commands"] + prepared["worker_setup_commands"]
    assert prepared["head_start_ray_commands"] == launched["head_start_ray_commands"]


@pytest.mark.parametrize(
    ("path", "typo"),
    [
        (("max_workers",), "max_wrkers"),
        (("docker", "pull_before_run"), "pull_befor_run"),
        (("available_node_types", "gpu-spot", "priority"), "prioritee"),
    ],
)
def test_ray_up_refuses_a_typo(launched: dict[str, Any], path: tuple[str, ...], typo: str) -> None:
    where = launched
    for name in path[:-1]:
        where = where[name]
    where[typo] = where.pop(path[-1])
    with pytest.raises(jsonschema.ValidationError, match=typo):
        refuse(launched)


def test_every_start_of_ray_up_asks_for_the_token_and_the_dashboard_stays_at_home(launched: dict[str, Any]) -> None:
    mounted = launched["file_mounts"]
    for commands in (launched["head_start_ray_commands"], launched["worker_start_ray_commands"]):
        starts = [command for command in commands if "ray start" in command]
        assert len(starts) == 1
        assert re.search(r"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=(\S+) ray start", starts[0])[1] in mounted  # type: ignore[index]
    head = " ".join(launched["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert not any(re.fullmatch(r"[0-9a-f-]{32,}", word) for word in (ROOT / "cluster.yaml").read_text().split()), "a token is in the file"


def test_the_head_of_ray_up_does_no_work_and_spot_comes_before_on_demand(launched: dict[str, Any]) -> None:
    types = launched["available_node_types"]
    assert types[launched["head_node_type"]]["resources"] == {"CPU": 0}
    spot, demand = types["gpu-spot"], types["gpu-on-demand"]
    assert spot["priority"] > demand["priority"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot["node_config"] == demand["node_config"], "else Ray would choose by size, not by price"
    for options in (launched["docker"]["head_run_options"], launched["docker"]["worker_run_options"]):
        assert any("--shm-size" in option for option in options)
        assert "--ulimit nofile=65536:65536" in options


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_keeps_work_off_the_head_and_asks_for_the_token(path: Path) -> None:
    made, spec = manifest(path), cluster(path)
    assert made["apiVersion"] == "ray.io/v1"
    assert made["kind"] == ("RayJob" if path in JOBS else "RayCluster")
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert f"rayproject/ray:{spec['rayVersion']}-" in DOCKERFILE
    assert len({container["image"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]) for container in containers(group)}) == 1


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_asks_for_gpus_in_the_gpu_group_alone(path: Path) -> None:
    spec = cluster(path)
    assert "nvidia.com/gpu" not in str(spec["headGroupSpec"])
    for group in spec["workerGroupSpecs"]:
        for container in containers(group):
            assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group["groupName"] == "gpu")
            assert container["resources"]["limits"] == container["resources"]["requests"], "Ray believes limits, Kubernetes grants requests"
        assert any(one["key"] == "nvidia.com/gpu" for one in group["template"]["spec"]["tolerations"])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_node_of_a_manifest_sees_the_same_folders(path: Path) -> None:
    spec = cluster(path)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounts = {mount["name"]: mount["mountPath"] for mount in containers(group)[0]["volumeMounts"]}
        assert mounts == {"data": "/data", "shm": "/dev/shm"}
        assert {volume["name"] for volume in pod["volumes"]} == mounts.keys()
        assert pod["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_a_job_of_a_manifest_exists_in_the_image_and_knows_its_flags(path: Path) -> None:
    spec = manifest(path)["spec"]
    python, script, *words = shlex.split(spec["entrypoint"])
    assert python == "python"
    assert script.startswith(HOME + "/"), "a RayJob uploads nothing: it runs what the image holds"
    job = ROOT / Path(script).relative_to(HOME)
    made = run_path(str(job), run_name="read")
    verb, *rest = made["words"](words) if "words" in made else (job.stem, *words)
    asked = parse_arguments(verb, rest)
    assert asked.source == "/data/photos"
    assert not asked.dry_run
    assert spec["shutdownAfterJobFinishes"]
    assert spec["backoffLimit"] > 0, "a job continues, so it may be tried again"
    assert all(group["minReplicas"] > 0 for group in cluster(path)["workerGroupSpecs"]), "a run plans with the nodes that it finds"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kuberays_own_schema_accepts_a_manifest(path: Path) -> None:
    folder = os.environ.get("RAY_UE_KUBERAY_CRDS", "")
    if not folder:
        pytest.skip("RAY_UE_KUBERAY_CRDS names no folder with KubeRay's CRD files")
    made = manifest(path)
    definitions = [one for file in sorted(Path(folder).glob("*.yaml")) for one in yaml.safe_load_all(file.read_text()) if one]
    [found] = [one for one in definitions if one.get("spec", {}).get("names", {}).get("kind") == made["kind"]]
    [version] = [one for one in found["spec"]["versions"] if f"{found['spec']['group']}/{one['name']}" == made["apiVersion"]]
    jsonschema.validate(made, strict(version["schema"]["openAPIV3Schema"]))


def strict(schema: Any) -> Any:
    """A CRD's schema that refuses fields it does not name, which Kubernetes drops without a word, and knows numbers that may be texts."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and schema["properties"]:
        made.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
    return made


def test_a_strict_schema_refuses_a_typo_and_takes_what_a_crd_takes() -> None:
    crd = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "spec": {"type": "object", "properties": {"cpu": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}]}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    jsonschema.validate({"apiVersion": "v1", "spec": {"cpu": "4"}, "labels": {"any": "thing"}}, strict(crd))
    with pytest.raises(jsonschema.ValidationError, match="cpus"):
        jsonschema.validate({"spec": {"cpus": 4}}, strict(crd))


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the Dockerfile; continued lines are joined, comments left out."""
    kept = "\n".join(line for line in DOCKERFILE.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    parts = (line.split(maxsplit=1) for line in kept.replace("\\\n", " ").splitlines())
    return [(name, " ".join(rest.split())) for name, rest in parts]


def test_the_image_has_the_pinned_ray_and_installs_only_pinned_packages() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    [base] = [words for name, words in instructions() if name == "FROM"]
    assert base == f"rayproject/ray:{pinned['ray']}-py311-gpu"
    installs = [part for name, words in instructions() if name == "RUN" for part in words.split("&&") if "install" in part]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in part or "--no-deps ." in part for part in installs)
    assert "--group" not in DOCKERFILE, "no development tools in the image"
    assert {"uv", "boto3"} <= pinned.keys()


def test_the_image_copies_code_that_exists_and_no_data_and_ends_without_root() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copies = [words.split() for name, words in instructions() if name in ("COPY", "ADD")]
    sources = {word for words in copies for word in words[:-1] if not word.startswith("--")}
    assert sources == allowed, ".dockerignore lets in what is copied and nothing else"
    assert all((ROOT / source).exists() for source in sources)
    assert (ROOT / ".dockerignore").read_text().split("\n")[1] == "*"
    assert [words for name, words in instructions() if name == "USER"][-1] == "ray"
    assert not re.search(r":latest\b", DOCKERFILE)
