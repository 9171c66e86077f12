"""docs/BACKBONES.md: a network of keras.applications is trained, saved, exported and answers as it did."""

import json

import pytest

from tests.helpers.documents import read, run_document

BACKBONES = read("docs/BACKBONES.md")
CHECKS = """
```python
import tensorflow as tf

episode = next(episodes())
support, query = (part.inputs[0].astype(np.float32) for part in (episode.support, episode.query))
again = cml_tf.load("backbone").adapt(support, np.arange(WAYS)).predict(query)
assert np.isfinite(history["loss"]).all()
served = tf.saved_model.load(str(version)).signatures["serving_default"]
answer = served(
    support_inputs=tf.constant(support[None]),
    support_labels=tf.range(WAYS)[None],
    query_inputs=tf.constant(query[None]),
)
np.testing.assert_allclose(answer["probabilities"][0], again, rtol=1e-4, atol=1e-5)
head = sum(int(np.prod(variable.shape)) for variable in model.method.learner.variables.head)
print(head)
```
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_backbone_of_keras_is_trained_saved_and_served(tmp_path):
    printed = run_document(BACKBONES + CHECKS, tmp_path).printed
    version = tmp_path / "models/backbone/1"
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    assert card["adaptation"]["partition"] == "anil"
    assert card["adapted_state"]["length"] == int(printed.split()[-1])
    assert card["config"] is None and list(card["parameters"]["left_behind"]) == []
    assert "trained from Python" in (version / "assets.extra/model_card.md").read_text()
    assert not (version / "assets.extra/config.json").exists()
