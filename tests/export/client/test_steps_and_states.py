"""Through the client: steps and rate that are asked for, compact states, and a folder of them."""

import dataclasses
import datetime
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from export import status
from export.client import Adapted, ClientError, TaskError, TaskStore
from export.client.grpc_connection import arrays_of
from export.client.packing import Task
from tests.export.served import CLOSE, inputs_of
from tests.helpers.programs import run_programs

pytestmark = pytest.mark.slow

NAMES = ["ant", "bee", "cat"] * 2


def task(served):
    support, targets, query = (array[0] for array in inputs_of(served.model).values())
    return support, NAMES if served.model.classification else targets, query


def test_steps_and_rate_are_asked_for_and_told_of(ask, bounded):
    support, targets, query = task(bounded)
    client = ask("bounded")
    for steps, rate in ((3, None), (0, None), (None, 0.005), (4, 0.02)):
        adapted = client.adapt(support, targets, steps=steps, rate=rate)
        whole = client.adapt_and_predict(support, targets, query, steps=steps, rate=rate)
        made = 2 if steps is None else steps
        for trace in (adapted.trace, whole.trace):
            assert trace.steps == made and trace.losses.shape == (made + 1,) and not trace.made_worse
            assert trace.losses[0] == pytest.approx(adapted.loss_before) and (np.diff(trace.losses) < 0).all()
        np.testing.assert_allclose(client.predict(adapted, query).values, whole.values, atol=1e-3)
        if rate is None:
            expected = bounded.in_process.adapt(support, targets, steps=made).predict(query)
            np.testing.assert_allclose(whole.values, expected, **CLOSE)
    # Many tasks, some of which ask for nothing.
    tasks = [Task(support, targets, query), Task(support, targets, query, steps=1)]
    plain, one = client.adapt_and_predict_tasks(tasks)
    assert plain.trace is None and one.trace.steps == 1
    np.testing.assert_allclose(plain.values, client.adapt_and_predict(support, targets, query).values, **CLOSE)


def test_what_cannot_be_asked_for_is_one_line(ask, bounded):
    support, targets, query = task(bounded)
    client = ask("bounded")
    for wrong in ({"steps": 5}, {"rate": 1.0}):
        with pytest.raises(TaskError) as caught:
            client.adapt(support, targets, **wrong)
        assert caught.value.statuses == (status.OUT_OF_BOUNDS,) and "--most_steps" in str(caught.value)
    for wrong in ({"steps": -1}, {"rate": 0.0}, {"rate": float("nan")}, {"steps": 2**31}):
        with pytest.raises(ClientError, match="steps must be 0 or more and the rate positive"):
            client.adapt_and_predict(support, targets, query, **wrong)
    with pytest.raises(ClientError, match="does not let requests set steps.*--most_steps"):
        ask("waves").adapt(support, targets, steps=1)


@pytest.mark.parametrize(("name", "width"), [("bounded", 2), ("small", 1)])
def test_small_states_arrive_are_kept_and_are_asked_with(ask, name, width, request, tmp_path):
    served = request.getfixturevalue(name)
    support, targets, query = task(served)
    client = ask(name)
    adapted = client.adapt(support, targets)
    whole = client.adapt_and_predict(support, targets, query)
    assert adapted.compact and adapted.state.dtype == np.uint8
    assert adapted.state.nbytes == width * served.model.state_size(0)
    assert (adapted.scales is not None) == (width == 1)
    assert 0 < adapted.loss_after < adapted.loss_before
    answer = client.predict(adapted, query)
    np.testing.assert_allclose(answer.values, whole.values, atol=5e-3)
    adapted.save(tmp_path / "task.npz")
    again = Adapted.load(tmp_path / "task.npz")
    np.testing.assert_array_equal(client.predict(again, query).values, answer.values)
    for changed in ({"fingerprint": adapted.fingerprint ^ 1}, {"state": adapted.state[:-1]}):
        with pytest.raises(TaskError) as caught:
            client.predict(dataclasses.replace(adapted, **changed), query)
        assert caught.value.statuses == (status.STATE_OF_ANOTHER_MODEL,)


def test_a_compact_state_needs_a_model_that_uses_them(ask, small, bounded):
    adapted = ask("small").adapt(*task(small)[:2])
    with pytest.raises(ClientError, match="does not use any: adapt again"):
        ask("images").predict(dataclasses.replace(adapted, model="images"), np.zeros((1, 16, 16, 1)))
    # Of another kind, in which its scales would be missing.
    other = dataclasses.replace(ask("bounded").adapt(*task(bounded)[:2]), model="small", class_names=tuple("abc"))
    with pytest.raises(ClientError, match="inputs of predict_compact must be"):
        ask("small").predict(other, task(small)[2])


@pytest.mark.parametrize(
    "damage", [{"format": 1}, {"format": 3}, {"compact_scales": np.zeros(3)}, {"adapted_state": 1}]
)
def test_damaged_files_of_compact_states_are_refused(damage, tmp_path):
    scales = np.ones(2, np.float32)
    good = Adapted("m", 1, ("a", "b"), np.zeros(4, np.uint8), 5, scales=scales)
    good.save(tmp_path / "task.npz")
    with np.load(tmp_path / "task.npz") as file:
        arrays = dict(file)
    np.testing.assert_array_equal(Adapted.load(tmp_path / "task.npz").scales, scales)
    np.savez(tmp_path / "wrong.npz", **{**arrays, **damage})
    with pytest.raises(ClientError, match="adapt again"):
        Adapted.load(tmp_path / "wrong.npz")


def test_strings_come_also_as_tensor_content():
    """As TensorFlow Serving sends them with --enable_serialization_as_tensor_content."""
    contents = [b"", b"x" * 300, b"\0\xff"]
    response = predict_pb2.PredictResponse()
    tensor = response.outputs["state"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add(size=3)
    tensor.tensor_content = b"\x00\xac\x02\x02" + b"".join(contents)
    response.outputs["plain"].CopyFrom(tf.make_tensor_proto(contents))
    assert isinstance(tensor, tensor_pb2.TensorProto)
    for name in ("state", "plain"):
        assert arrays_of(response)[name].tolist() == contents


def test_a_store_keeps_tasks_and_tells_which_are_served(ask, bounded, nodes, tmp_path):
    store, client = TaskStore(tmp_path / "tasks"), ask("bounded")
    assert store.entries() == []
    adapted = client.adapt(*task(bounded)[:2])
    store.put("greek", adapted)
    store.put("old", dataclasses.replace(adapted, fingerprint=adapted.fingerprint ^ 1))
    store.put("gone", dataclasses.replace(adapted, version=99))
    # Of a model that was exported anew, for other tasks.
    store.put("letters", dataclasses.replace(adapted, class_names=("a", "b")))
    assert store.names() == ["gone", "greek", "letters", "old"]
    entry = store.entries()[1]
    assert (entry.model, entry.version, entry.class_names) == ("bounded", 1, None)
    assert entry.bytes == store.path("greek").stat().st_size
    assert datetime.datetime.now(datetime.UTC) - entry.changed < datetime.timedelta(minutes=10)
    assert [store.check(name, client) for name in store.names()] == ["not served", "served", "stale", "stale"]
    np.testing.assert_array_equal(store.get("greek").state, adapted.state)
    store.remove("old")
    with pytest.raises(ClientError, match="must contain the task old, found gone, greek, letters"):
        store.get("old")
    for name in ("", "../x", "a/b", ".hidden", " spaced ", "x" * 201, "a\\b"):
        with pytest.raises(ClientError, match="name of a task"):
            store.put(name, adapted)
    (store.folder / "broken.npz").write_bytes(b"no zip")
    with pytest.raises(ClientError, match="broken.npz"):
        store.entries()


def test_a_task_of_another_model_is_no_matter_of_this_client(ask, bounded, tmp_path):
    store = TaskStore(tmp_path)
    # Of both there is a version 1, but only of one a version 99.
    for version in (1, 99):
        store.put("theirs", Adapted("images", version, ("a", "b"), np.zeros(4, np.float32), 5))
        with pytest.raises(ClientError, match="must be one for images.*'theirs'.*bounded: use a client for images"):
            store.check("theirs", ask("bounded"))


# As a Mac writes é, with white space at an end, in bytes that are no text, and too long for the rule.
FOREIGN = ["e\u0301", "my task ", os.fsdecode(b"\xff"), "a\\b", "x" * 230]


def test_no_name_of_a_file_keeps_the_others_from_being_listed(tmp_path):
    store, adapted = TaskStore(tmp_path), Adapted("m", 1, ("a", "b"), np.zeros(4, np.float32), 5)
    store.put("greek", adapted)
    for name in FOREIGN:
        (tmp_path / "greek.npz").rename(tmp_path / f"{name}.npz")
        store.put("greek", adapted)
    assert [entry.name for entry in store.entries()] == sorted(["greek", *FOREIGN])
    for name in FOREIGN:
        assert store.get(name).model == "m"
        with pytest.raises(ClientError, match="name of a task must be"):
            store.put(name, adapted)
        store.remove(name)
    assert store.names() == ["greek"]
    # What is no name of a file in the folder leads nowhere.
    adapted.save(tmp_path.parent / "outside.npz")
    for name in ("../outside", "", ".hidden", "x" * 300):
        with pytest.raises(ClientError, match="name of a task must be"):
            store.get(name)


def test_a_store_asks_models_on_nodes_too(ask, nodes, tmp_path):
    inputs = {name: array[0] for name, array in inputs_of(nodes.model).items()}
    graph = (inputs["node_features"], inputs["edges"])
    client, store = ask("nodes"), TaskStore(tmp_path)
    names = [NAMES[label] for label in inputs["support_labels"]]
    store.put("papers", client.adapt(inputs["support_nodes"], names, graph))
    assert store.check("papers", client) == "served"


def test_the_programs_adapt_with_steps_and_list_what_is_kept(server, bounded, tmp_path):
    support, targets, _ = task(bounded)
    np.savez(tmp_path / "waves.npz", support_inputs=support, support_targets=targets)
    address = f"--address={server.addresses['grpc']}"
    flags = ["--model=bounded", f"--support={tmp_path / 'waves.npz'}", f"--output={tmp_path / 'kept' / 'waves.npz'}"]
    adapt = ["export.client.adapt", address, *flags, "--steps=4", "--rate=0.02"]
    # As that program writes them: the name is one of a file and not of this folder's rule.
    other = Adapted("images", 7, ("a", "b"), np.zeros(4, np.float32), 5)
    other.save(tmp_path / "kept" / "my task .npz")
    tasks = ["export.client.tasks", f"--folder={tmp_path / 'kept'}"]
    calls = [adapt, [*tasks, address], [*tasks, address, "--model=bounded"], [*tasks, "--model=images"]]
    done, every, listed, others = run_programs(calls)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith("support losses: ") and done.out.count(", ") >= 4
    assert [finished.code for finished in (every, listed, others)] == [0, 0, 0], every.err + listed.err + others.err
    found = [
        [(row["name"], row["state"]) for row in json.loads(given.out.splitlines()[-1])] for given in (every, others)
    ]
    assert found == [[("my task ", "not served"), ("waves", "served")], [("my task ", None)]]
    (row,) = json.loads(listed.out.splitlines()[-1])
    assert (row["name"], row["model"], row["state"]) == ("waves", "bounded", "served")
    assert "waves" in listed.out.splitlines()[3] and "served" in listed.out.splitlines()[3]
