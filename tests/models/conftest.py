"""Models that several test files use."""

from __future__ import annotations

import pytest

from cml_tf import FewShotModel
from tests.helpers.few_shot import image_model, sinusoid_trainer
from tests.helpers.small_tasks import NAMES, pictures


@pytest.fixture(scope="module")
def classifier():
    return image_model()


@pytest.fixture(scope="module")
def regressor():
    return FewShotModel.of(sinusoid_trainer())


@pytest.fixture(scope="module")
def task(classifier):
    return classifier.adapt(pictures(6), NAMES)
