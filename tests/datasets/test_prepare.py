"""The program that prepares a benchmark."""

from __future__ import annotations

import pytest

from cml_tf.datasets import load_dataset, prepare
from cml_tf.datasets.benchmarks import BENCHMARKS, Archive
from cml_tf.datasets.instructions import instructions
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.programs import run_program


def test_it_prepares_and_prints_what_there_is(tmp_path, monkeypatch, empty_cache, capsys):
    write_benchmark("aircraft", tmp_path, monkeypatch)
    assert prepare.main(["aircraft", f"--root={tmp_path}"]) == 0
    out = capsys.readouterr().out
    for split, classes in (("train", 70), ("validation", 15), ("test", 15)):
        row = next(line for line in out.splitlines() if split in line)
        assert f" {classes} " in row and f" {3 * classes} " in row
    assert "84x84" in out and "Meta-Dataset" in out and "aircraft-" in out
    # The second call needs no files.
    assert prepare.main(["aircraft"]) == 0
    assert capsys.readouterr().out == out


def test_damaged_arrays_are_found(tmp_path, monkeypatch, empty_cache, capsys):
    write_benchmark("gtsrb", tmp_path, monkeypatch)
    pool = load_dataset("gtsrb", str(tmp_path)).pools["test"]
    path = pool.images.filename
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert prepare.main(["gtsrb"]) == 2
    assert f"damaged: delete {path.parent} and run this again" in capsys.readouterr().err


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_instructions_name_every_file_and_where_it_is(name):
    text = instructions(name)
    source = BENCHMARKS[name].source
    files = {source.name: source.url} if isinstance(source, Archive) else dict(source.files)
    assert files and all(file in text and url in text for file, url in files.items())
    assert f"python -m cml_tf.datasets.prepare {name} --root=FOLDER" in text
    if isinstance(source, Archive):
        assert source.checksum[1] in text and "by hand" in text


def test_missing_files_are_asked_for(empty_cache, capsys):
    assert prepare.main(["cub"]) == 2
    out, err = capsys.readouterr()
    assert "CUB_200_2011.tgz" in out and "data.caltech.edu" in out
    assert err.startswith("error: cub needs CUB_200_2011.tgz") and err.count("\n") == 1


@pytest.mark.slow
def test_the_program_itself(empty_cache):
    missing = run_program("cml_tf.datasets.prepare", "cub")
    assert missing.code == 2 and "CUB_200_2011.tgz" in missing.out
    assert len(missing.messages) == 1 and missing.messages[0].startswith("error: cub needs CUB_200_2011.tgz")


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(["mnist"])
    assert caught.value.code == 2 and "invalid choice: 'mnist'" in capsys.readouterr().err
