"""The files that training runs with on Kubernetes fit its schema, each other, and the program that they start.

Of Kubeflow's TFJob, whose schema is not at hand, fields in use are checked, and its pods by Kubernetes' schema.
"""

import json
import re

import kubernetes_validate
import pytest
import yaml

from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE
from cml_tf.experiments import strategies
from cml_tf.system.command_line import LOST, STOPPED
from configs import glyphs
from export.deploy import FOLDER
from tests.helpers.programs import ROOT

KUBERNETES = {entry["kind"]: entry for entry in yaml.safe_load_all((FOLDER / "training-job.yaml").read_text())}
(TFJOB,) = yaml.safe_load_all((FOLDER / "training-tfjob.yaml").read_text())
JOB = KUBERNETES["Job"]["spec"]
WORKER = TFJOB["spec"]["tfReplicaSpecs"]["Worker"]
VERSION = "1.31"


def test_kubernetes_takes_the_objects_which_belong_together():
    assert KUBERNETES.keys() == {"Service", "Job", "PersistentVolumeClaim"}
    pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pods"}, "template": WORKER["template"]}
    for entry in (*KUBERNETES.values(), pods):
        kubernetes_validate.validate(entry, VERSION, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**KUBERNETES["Job"], "spec": {**JOB, "podz": 1}}, VERSION, strict=True)
    service, claim = KUBERNETES["Service"], KUBERNETES["PersistentVolumeClaim"]
    assert service["spec"]["selector"] == JOB["template"]["metadata"]["labels"]
    assert service["metadata"]["name"] == JOB["template"]["spec"]["subdomain"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in (JOB["template"]["spec"], WORKER["template"]["spec"]):
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["shareProcessNamespace"], "the program refuses to be process 1"
        # More than the ten seconds in which a process notices that another one is gone.
        assert pod["terminationGracePeriodSeconds"] > 60


def test_every_pod_knows_all_others_and_which_one_it_is():
    (container,) = JOB["template"]["spec"]["containers"]
    index, config, _ = container["env"]
    assert JOB["completionMode"] == "Indexed" and JOB["completions"] == JOB["parallelism"] == 2
    for number in range(JOB["completions"]):
        # Kubernetes puts values in where earlier names are named.
        text = config["value"].replace(f"$({index['name']})", str(number))
        strategies.check_cluster(text)
        described = json.loads(text)
        assert described["task"]["index"] == number
        own = f"{KUBERNETES['Job']['metadata']['name']}-{number}.{JOB['template']['spec']['subdomain']}:2222"
        assert described["cluster"]["worker"][number] == own
    assert len(described["cluster"]["worker"]) == JOB["completions"]
    (port,) = container["ports"]
    assert port["containerPort"] == KUBERNETES["Service"]["spec"]["ports"][0]["port"] == 2222


def test_what_is_tried_again_is_what_goes_on_from_a_checkpoint():
    (container,) = JOB["template"]["spec"]["containers"]
    disrupted, again, mend = JOB["podFailurePolicy"]["rules"]
    assert (
        disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        and disrupted["action"] == "Ignore"
    )
    assert (again["action"], again["onExitCodes"]["values"]) == ("Ignore", [STOPPED, LOST])
    assert (mend["action"], mend["onExitCodes"]["values"]) == ("FailJob", [2])
    assert {rule["onExitCodes"]["containerName"] for rule in (again, mend)} == {container["name"]}
    # Kubeflow tries codes from 128 on again with this policy, and none below.
    assert WORKER["restartPolicy"] == "ExitCode" and min(STOPPED, LOST) >= 128


def test_the_operator_is_asked_for_what_the_job_does():
    assert (TFJOB["apiVersion"], TFJOB["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert TFJOB["spec"].keys() == {"runPolicy", "tfReplicaSpecs"} and WORKER["replicas"] == JOB["completions"]
    (job,), (operator,) = (pod["containers"] for pod in (JOB["template"]["spec"], WORKER["template"]["spec"]))
    assert operator["name"] == "tensorflow", "the operator sets TF_CONFIG in no other container"
    assert all(one["name"] != strategies.TF_CONFIG for one in operator["env"])
    for key in ("image", "command", "args", "resources", "securityContext", "volumeMounts", "workingDir"):
        assert job[key] == operator[key], key
    assert job["command"][1:] == ["-m", "cml_tf.train"] and operator["env"][-1]["name"] == ENVIRONMENT_VARIABLE
    given = dict(re.fullmatch("--([^=]+)=(.*)", argument).groups() for argument in job["args"])
    own = {name for name in given if not name.startswith("config")}
    # Read, not imported: programs that other tests import have flags of the same names.
    sources = ((ROOT / name).read_text() for name in ("cml_tf/train.py", "cml_tf/experiments/strategies.py"))
    defined = {name for source in sources for name in re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source)}
    assert own <= defined and given["strategy"] == strategies.MULTI_WORKER
    assert given["workdir"].startswith(job["volumeMounts"][0]["mountPath"])
    config = glyphs.get_config(given["config"].split(":")[1])
    assert given.keys() - own == {"config", "config.train.meta_batch"} and "meta_batch" in config.train
    assert int(given["config.train.meta_batch"]) % JOB["completions"] == 0
