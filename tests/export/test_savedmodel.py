"""The program, as a user runs it."""

from __future__ import annotations

import pytest

from tests.helpers.programs import run_programs

PROGRAM = "export.savedmodel"


@pytest.mark.slow
def test_it_exports_numbers_versions_and_says_what_is_wrong(wave_run, tmp_path):
    model_dir = tmp_path / "models" / "waves"
    run = [PROGRAM, f"--workdir={wave_run}", f"--model_dir={model_dir}"]
    first, taken, missing, strange = run_programs(
        [
            [*run, "--steps=2"],
            [*run, "--version=1"],
            [PROGRAM, f"--workdir={tmp_path / 'none'}", f"--model_dir={model_dir}"],
            [*run, "--readout=co_learner_theta_adapted"],
        ]
    )
    assert first.code == 0, first.err
    assert first.out.splitlines()[-1] == str(model_dir / "1")
    for finished, message in (
        (taken, "version 1 exists"),
        (missing, "holds no run"),
        (strange, "co_learner_theta_adapted"),
    ):
        assert finished.code == 2
        assert finished.messages[-1].startswith("error: ") and message in finished.messages[-1]
    assert [path.name for path in model_dir.iterdir()] == ["1"]
