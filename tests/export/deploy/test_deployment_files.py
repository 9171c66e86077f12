"""The files that TensorFlow Serving is run with parse, and agree with each other and with the programs.

Text protos are parsed with the messages of tensorflow-serving-api; those that it does not ship are written down here,
field by field. Kubernetes objects go through a validator; of Docker Compose and KServe only fields in use are checked.
"""

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
_NUMBERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
_FIELDS = {
    "PrometheusConfig": [("enable", _TYPES.TYPE_BOOL), ("path", _TYPES.TYPE_STRING)],
    "MonitoringConfig": [("prometheus_config", ".left_out.PrometheusConfig")],
    "BatchingParameters": [(name, ".google.protobuf.Int64Value") for name in _NUMBERS],
}
TEXTS = {path.name: path.read_text() for path in DEPLOY.iterdir() if path.is_file() and path.suffix != ".py"}
COMPOSE = yaml.safe_load(TEXTS["docker-compose.yaml"])["services"]["serving"]
KUBERNETES = {entry["kind"]: entry for entry in yaml.safe_load_all(TEXTS["kubernetes.yaml"])}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
(KSERVE,) = yaml.safe_load_all(TEXTS["kserve.yaml"])


def _message(name, text):
    """Of the messages that tensorflow-serving-api leaves out."""
    file = descriptor_pb2.FileDescriptorProto(name="left_out.proto", package="left_out", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message, fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields, start=1):
            typed = {"type": kind} if isinstance(kind, int) else {"type": _TYPES.TYPE_MESSAGE, "type_name": kind}
            made.field.add(name=field, number=number, label=_TYPES.LABEL_OPTIONAL, **typed)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return text_format.Parse(text, message_factory.GetMessageClass(pool.FindMessageTypeByName(f"left_out.{name}"))())


def _flags(arguments):
    assert all(argument.startswith("--") for argument in arguments), arguments
    return dict(argument[2:].split("=", 1) for argument in arguments)


def test_text_protos_parse_and_agree():
    assert TEXTS.keys() - {"BUILD"} == set(FILES)
    config = text_format.Parse(TEXTS["models.config"], model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (MODEL, f"/models/{MODEL}", "tensorflow")
    assert model.version_labels.keys() == {"stable", "canary"}
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)
    path = _message("MonitoringConfig", TEXTS["monitoring.config"]).prometheus_config
    assert (path.enable, path.path) == (True, Options.metrics_path) and MONITORING == DEPLOY / "monitoring.config"
    batching, written = (
        _message("BatchingParameters", text) for text in (TEXTS["batching_parameters.txt"], PARAMETERS_TEXT)
    )
    assert batching.max_batch_size.value == Settings().tasks_per_request
    assert str(batching) == str(written), "an export with shape buckets brings the same"
    assert all(getattr(batching, name).value > 0 for name in _NUMBERS) and batching.batch_timeout_micros.value <= 10_000
    # It parses and gives all parts; what it gives is no PEM until it is filled in.
    with pytest.raises(TlsError, match="PEM"):
        from_config(DEPLOY / "ssl.config")
    assert TEXTS["ssl.config"].count("REPLACE") == 3


def test_kubernetes_takes_the_objects_which_belong_together():
    assert KUBERNETES.keys() == {"Deployment", "Service", "HorizontalPodAutoscaler"}
    for entry in KUBERNETES.values():
        kubernetes_validate.validate(entry, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**KUBERNETES["Service"], "spec": {"portz": []}}, "1.31", strict=True)
    deployment, service = KUBERNETES["Deployment"], KUBERNETES["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    target = KUBERNETES["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    # Pods are sent to only when the model answers, and run as nobody.
    path = {"path": f"/v1/models/{MODEL}", "port": "rest"}
    assert CONTAINER["readinessProbe"]["httpGet"] == CONTAINER["startupProbe"]["httpGet"] == path
    assert f"GET /v1/models/{MODEL} HTTP" in COMPOSE["healthcheck"]["test"][-1]
    assert POD["securityContext"]["runAsNonRoot"] and POD["securityContext"]["runAsUser"] > 0
    assert COMPOSE["user"].split(":")[0] != "0"
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    assert CONTAINER["resources"].keys() == {"requests", "limits"}
    # The server drops what is in flight at SIGTERM; the wait before it must fit into the grace.
    assert int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1]) < POD["terminationGracePeriodSeconds"]


def test_ports_files_and_releases_are_those_that_the_flags_name():
    ports = {entry["name"]: entry["containerPort"] for entry in CONTAINER["ports"]}
    model, claim = KSERVE["spec"]["predictor"]["model"], POD["volumes"][0]["persistentVolumeClaim"]
    for flags in (_flags(COMPOSE["command"]), _flags(CONTAINER["args"])):
        assert (int(flags["port"]), int(flags["rest_api_port"])) == (ports["grpc"], ports["rest"])
        assert flags["allow_version_labels_for_unavailable_models"] == "true"
        for name in ("model_config_file", "monitoring_config_file"):
            folder, _, file = flags[name].rpartition("/")
            assert folder == "/config" and file in TEXTS
    assert {entry["port"] for entry in KUBERNETES["Service"]["spec"]["ports"]} == set(ports.values())
    assert COMPOSE["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports.values()]
    mounts = {entry["mountPath"]: entry["name"] for entry in CONTAINER["volumeMounts"]}
    assert mounts.keys() >= {"/models", "/config"}
    assert set(mounts.values()) == {entry["name"] for entry in POD["volumes"]}
    assert COMPOSE["volumes"] == ["./models:/models:ro", ".:/config:ro"]
    # The lines that may be switched on.
    optional = dict(re.findall(r"# - --(\w+)=(.*)", TEXTS["docker-compose.yaml"]))
    assert list(optional) == ["ssl_config_file", "enable_batching", "batching_parameters_file"]
    assert all(Path(value).name in TEXTS for name, value in optional.items() if name.endswith("_file"))
    assert (KSERVE["apiVersion"], KSERVE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["storageUri"] == f"pvc://{claim['claimName']}/{MODEL}"
    assert f"tensorflow/serving:{model['runtimeVersion']}" == COMPOSE["image"] == CONTAINER["image"] == IMAGE
    # More requests at once than four a processor are not refused.
    for arguments in (COMPOSE["command"], CONTAINER["args"], model["args"]):
        assert _flags(arguments)["grpc_max_threads"] == "64"


_DEPTHS = {
    **dict.fromkeys(
        ("[" * 64 + "]" * 64, "[]" * 1000, '"' + "[" * 1000 + '"', "", '"never closed [' + "[" * 100), False
    ),
    **dict.fromkeys(("[" * 65, '{"a":' * 65, '{"a": [' * 33, '["\\\\", ' + "[" * 64), True),
    '"\\"' + "[" * 1000 + '"': False,
}


def test_the_proxy_refuses_json_that_would_end_the_engine(tmp_path):
    """In the JavaScript engine that comes with playwright; nginx's own knows the same language."""
    (tmp_path / "json_depth.mjs").write_text(TEXTS["json_depth.js"])
    (tmp_path / "ask.mjs").write_text(
        f"import depth from './json_depth.mjs';\n"
        f"console.log(JSON.stringify({json.dumps(list(_DEPTHS))}.map(text => depth.isDeeper(Buffer.from(text), 64))));"
    )
    node, _ = compute_driver_executable()
    done = subprocess.run([node, tmp_path / "ask.mjs"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(_DEPTHS.values())


def test_the_proxy_lets_only_the_rest_paths_of_the_project_through():
    text = TEXTS["nginx.conf"]
    assert text.count("{") == text.count("}")
    assert "js_import json from json_depth.js;" in text and "js_content json.check;" in text
    size = re.search(r"client_max_body_size (\w+);", text)
    assert size and f"client_body_buffer_size {size[1]};" in text, "a body in a file would not be checked"
    paths = [re.compile(pattern) for pattern in re.findall(r"location ~ (\S+) {", text)]
    through = [f"/v1/models/{MODEL}{more}" for more in ("", "/versions/2/metadata", "/labels/stable:predict")]
    for path in (*through, f"/v1/models/{MODEL}:classify", Options.metrics_path):
        assert any(pattern.search(path) for pattern in paths) == (path in through), path
