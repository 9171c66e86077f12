"""The program, as a user runs it."""

from __future__ import annotations

import pytest

from tests.helpers.programs import run_programs

PROGRAM = "export.savedmodel"


@pytest.mark.slow
def test_it_exports_and_says_what_is_wrong(wave_run, tmp_path):
    model_dir = tmp_path / "models" / "waves"
    run = [PROGRAM, f"--workdir={wave_run}", f"--model_dir={model_dir}"]
    first, missing = run_programs([[*run, "--steps=2"], [*run, f"--workdir={tmp_path / 'none'}"]])
    assert first.code == 0, first.err
    assert first.out.splitlines()[-1] == str(model_dir / "1")
    assert missing.code == 2
    assert missing.messages[-1].startswith("error: ") and "contains no run" in missing.messages[-1]
    assert [path.name for path in model_dir.iterdir()] == ["1"]
