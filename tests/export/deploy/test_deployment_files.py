"""The files that TensorFlow Serving is run with parse, and agree with each other and with the programs.

Text protos are parsed with the messages of tensorflow-serving-api; those that it does not ship are written down here,
field by field. Kubernetes objects go through a validator; of Docker Compose and KServe only fields in use are checked.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from playwright._impl._driver import compute_driver_executable
from tensorflow_serving.config import model_server_config_pb2

from export.client import Settings
from export.deploy import FILES, MONITORING
from export.deploy import FOLDER as DEPLOY
from export.graph.buckets import PARAMETERS_TEXT
from export.server.embedded import Options
from export.server.tensorflow_serving import IMAGE
from export.server.tls import TlsError, from_config

MODEL = "few_shot"
_TYPES = descriptor_pb2.FieldDescriptorProto


def _messages():
    """MonitoringConfig and BatchingParameters, which tensorflow-serving-api leaves out."""
    file = descriptor_pb2.FileDescriptorProto(name="left_out.proto", package="left_out", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=_TYPES.TYPE_BOOL, label=_TYPES.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
    _add_message(file.message_type.add(name="MonitoringConfig"), 1, "prometheus_config", ".left_out.PrometheusConfig")
    batching = file.message_type.add(name="BatchingParameters")
    numbers = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(numbers, start=1):
        _add_message(batching, number, name, ".google.protobuf.Int64Value")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    names = ("MonitoringConfig", "BatchingParameters")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"left_out.{name}")) for name in names]


def _add_message(message, number, name, kind):
    message.field.add(name=name, number=number, type=_TYPES.TYPE_MESSAGE, label=_TYPES.LABEL_OPTIONAL, type_name=kind)


MonitoringConfig, BatchingParameters = _messages()


def _parsed(name, message):
    return text_format.Parse((DEPLOY / name).read_text(), message)


def _objects(name):
    return {entry["kind"]: entry for entry in yaml.safe_load_all((DEPLOY / name).read_text())}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]["serving"]


@pytest.fixture(scope="module")
def kubernetes():
    return _objects("kubernetes.yaml")


@pytest.fixture(scope="module")
def container(kubernetes):
    (only,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def _flags(arguments):
    assert all(argument.startswith("--") for argument in arguments), arguments
    return dict(argument[2:].split("=", 1) for argument in arguments)


def test_labels_point_to_versions_that_are_loaded():
    config = _parsed("models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (MODEL, f"/models/{MODEL}", "tensorflow")
    assert model.version_labels.keys() == {"stable", "canary"}
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_monitoring_is_on_at_the_path_where_this_server_has_it():
    path = _parsed("monitoring.config", MonitoringConfig()).prometheus_config
    assert (path.enable, path.path) == (True, Options.metrics_path)
    assert MONITORING == DEPLOY / "monitoring.config"


def test_batching_leaves_out_what_would_cut_or_pad_tasks():
    batching = _parsed("batching_parameters.txt", BatchingParameters())
    assert min(batching.max_batch_size.value, batching.num_batch_threads.value, batching.max_enqueued_batches.value) > 0
    assert 0 < batching.batch_timeout_micros.value <= 10_000
    # An export with shape buckets brings the same, and the client sends no more tasks at once.
    assert batching == text_format.Parse(PARAMETERS_TEXT, BatchingParameters())
    assert batching.max_batch_size.value == Settings().tasks_per_request


def test_the_template_for_encryption_has_every_field_and_no_key():
    # It parses and gives all parts; what it gives is no PEM until it is filled in.
    with pytest.raises(TlsError, match="must be PEM files"):
        from_config(DEPLOY / "ssl.config")
    assert (DEPLOY / "ssl.config").read_text().count("REPLACE") == 3


def test_kubernetes_takes_the_objects(kubernetes):
    assert kubernetes.keys() == {"Deployment", "Service", "HorizontalPodAutoscaler"}
    for entry in kubernetes.values():
        kubernetes_validate.validate(entry, "1.31", strict=True)


def test_the_validator_would_notice(kubernetes):
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**kubernetes["Service"], "spec": {"portz": []}}, "1.31", strict=True)


def test_kubernetes_objects_belong_together(kubernetes):
    deployment, service = kubernetes["Deployment"], kubernetes["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    target = kubernetes["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    expected = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert target == expected


def test_pods_are_sent_to_only_when_the_model_answers_and_run_as_nobody(kubernetes, container):
    path = {"path": f"/v1/models/{MODEL}", "port": "rest"}
    assert container["readinessProbe"]["httpGet"] == container["startupProbe"]["httpGet"] == path
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["resources"].keys() == {"requests", "limits"}
    # The server drops what is in flight at SIGTERM; the wait before it must fit into the grace.
    assert int(container["lifecycle"]["preStop"]["exec"]["command"][1]) < pod["terminationGracePeriodSeconds"]


def test_ports_and_files_are_those_that_the_flags_name(compose, kubernetes, container):
    ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    for flags in (_flags(compose["command"]), _flags(container["args"])):
        assert (int(flags["port"]), int(flags["rest_api_port"])) == (ports["grpc"], ports["rest"])
        assert flags["allow_version_labels_for_unavailable_models"] == "true"
        for name in ("model_config_file", "monitoring_config_file"):
            folder, _, file = flags[name].rpartition("/")
            assert folder == "/config" and (DEPLOY / file).is_file()
    assert {entry["port"] for entry in kubernetes["Service"]["spec"]["ports"]} == set(ports.values())
    assert compose["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports.values()]


def test_what_is_named_is_mounted(compose, kubernetes, container):
    mounts = {entry["mountPath"]: entry["name"] for entry in container["volumeMounts"]}
    assert mounts.keys() >= {"/models", "/config"}
    assert set(mounts.values()) == {
        entry["name"] for entry in kubernetes["Deployment"]["spec"]["template"]["spec"]["volumes"]
    }
    assert compose["volumes"] == ["./models:/models:ro", ".:/config:ro"]
    assert compose["user"].split(":")[0] != "0"
    assert f"GET /v1/models/{MODEL} HTTP" in compose["healthcheck"]["test"][-1]


def test_the_lines_that_may_be_switched_on_name_files_that_are_there():
    lines = (DEPLOY / "docker-compose.yaml").read_text().splitlines()
    optional = [line.split("# - --", 1)[1].split("=", 1) for line in lines if "# - --" in line]
    assert [name for name, _ in optional] == ["ssl_config_file", "enable_batching", "batching_parameters_file"]
    assert all((DEPLOY / Path(value).name).is_file() for name, value in optional if name.endswith("_file"))


def test_kserve_serves_the_same_model_with_the_same_release():
    (service,) = _objects("kserve.yaml").values()
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    claim = _objects("kubernetes.yaml")["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["storageUri"] == f"pvc://{claim['claimName']}/{MODEL}"
    assert f"tensorflow/serving:{model['runtimeVersion']}" == IMAGE


def test_more_requests_at_once_than_four_a_processor_are_not_refused(compose, container):
    (service,) = _objects("kserve.yaml").values()
    for arguments in (compose["command"], container["args"], service["spec"]["predictor"]["model"]["args"]):
        assert _flags(arguments)["grpc_max_threads"] == "64"


_DEPTHS = [
    ("[" * 64 + "]" * 64, False),
    ("[" * 65, True),
    ('{"a":' * 65, True),
    ('{"a": [' * 33, True),
    ("[]" * 1000, False),
    ('"' + "[" * 1000 + '"', False),
    ('"\\"' + "[" * 1000 + '"', False),
    ('["\\\\", ' + "[" * 64, True),
    ("", False),
    ('"never closed [' + "[" * 100, False),
]


def test_the_proxy_refuses_json_that_would_end_the_engine(tmp_path):
    """In the JavaScript engine that comes with playwright; nginx's own knows the same language."""
    (tmp_path / "json_depth.mjs").write_text((DEPLOY / "json_depth.js").read_text())
    texts = json.dumps([text for text, _ in _DEPTHS])
    (tmp_path / "ask.mjs").write_text(
        f"import depth from './json_depth.mjs';\n"
        f"console.log(JSON.stringify({texts}.map(text => depth.isDeeper(Buffer.from(text), 64))));"
    )
    node, _ = compute_driver_executable()
    done = subprocess.run([node, tmp_path / "ask.mjs"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [deeper for _, deeper in _DEPTHS]


def test_the_proxy_lets_only_the_rest_paths_of_the_project_through():
    text = (DEPLOY / "nginx.conf").read_text()
    assert text.count("{") == text.count("}")
    assert "js_import json from json_depth.js;" in text and "js_content json.check;" in text
    size = re.search(r"client_max_body_size (\w+);", text)
    assert size and f"client_body_buffer_size {size[1]};" in text, "a body in a file would not be checked"
    paths = [re.compile(pattern) for pattern in re.findall(r"location ~ (\S+) {", text)]
    for path, allowed in {
        f"/v1/models/{MODEL}": True,
        f"/v1/models/{MODEL}/versions/2/metadata": True,
        f"/v1/models/{MODEL}/labels/stable:predict": True,
        f"/v1/models/{MODEL}:classify": False,
        Options.metrics_path: False,
    }.items():
        assert any(pattern.search(path) for pattern in paths) == allowed, path


def test_no_file_is_forgotten():
    present = {path.name for path in DEPLOY.iterdir() if path.is_file() and path.suffix != ".py"}
    assert present - {"BUILD"} == set(FILES)


def test_one_release_everywhere(compose, container):
    assert compose["image"] == container["image"] == IMAGE
