"""From a run to a version with bounds and compact states; what the gate notices of them is in gate/test_gate.py."""

import json

import numpy as np
import pytest

from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_run
from export.graph.bounds import Bounds
from export.graph.buckets import Service
from export.requests.files import read_requests
from tests.export.forked_gate import forked_gate
from tests.export.served import loaded

OPTIONS = Options(service=Service(bounds=Bounds(3, (0.001, 0.02), 0.0), state="float16"))


@pytest.mark.slow
def test_the_version_has_them_and_its_card_says_so(wave_run, tmp_path):
    with forked_gate():
        version = export_run(wave_run, tmp_path / "models" / "waves", OPTIONS)
    card = json.loads((version / EXTRA / CARD).read_text())
    own = card["bounds"].pop("own_rate")
    assert card["bounds"] == {
        **{"most_steps": 3, "rates": [0.001, 0.02], "rate_is": "inner rate", "stop_when_loss_below": 0.0}
    }
    compact, length = card["adapted_state"]["compact"], card["adapted_state"]["length"]
    assert (compact["dtype"], compact["bytes"], compact["float32_bytes"]) == ("float16", 2 * length, 4 * length)
    assert 0 < compact["measured_difference"] < 1e-3
    text = (version / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "`steps`, from 0 to 3" in text and "float16 in `compact_state_bytes`" in text
    assert "| 7 | The steps or the rate" in text
    asked = {request.signature for request in read_requests(version / EXTRA / WARM_UP)}
    assert asked == card["signatures"].keys()
    served, support = loaded(version), {"support_inputs": np.ones((1, 4, 1), np.float32)}
    support["support_targets"] = np.full((1, 4, 1), 2, np.float32)
    answer = served("adapt_bounded", **support, steps=np.array([1], np.int32), rate=np.array([own], np.float32))
    assert answer["steps_taken"].tolist() == [1] and len(answer["compact_state_bytes"][0]) == compact["bytes"]
