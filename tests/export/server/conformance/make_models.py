"""The models that the recorded exchanges are about: `python -m tests.export.server.conformance.make_models DIRECTORY`.

Writes DIRECTORY/models/{halver,waves,images,...}/<version>/ and DIRECTORY/models.config, and prints the command that
serves them with TensorFlow Serving and the one that then compares it with the record.
"""

import sys
from pathlib import Path

from tests.export.served import (
    bounded_model,
    free_model,
    judged_model,
    node_model,
    recorded_image_model,
    saved,
    small_model,
    wave_model,
)
from tests.export.server.tiny_models import write_halver

# All exports that a record is about, by the name that they are served under; `halver` beside them is no export.
MODELS = {
    "images": recorded_image_model,
    "waves": wave_model,
    "nodes": node_model,
    "judged": judged_model,
    "free": free_model,
    "bounded": bounded_model,
    "small": small_model,
}


def config_text(base_paths: dict[str, Path]) -> str:
    """The configuration that serves them; `first` is a label of version 1 of halver, of which both versions serve."""
    entries = []
    for name, path in sorted(base_paths.items()):
        more = 'model_version_policy { all {} } version_labels { key: "first" value: 1 }' if name == "halver" else ""
        entries.append(f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}\n')
    return "model_config_list {\n" + "".join(entries) + "}\n"


def write_halvers(directory: Path) -> Path:
    """Both versions."""
    directory.mkdir(parents=True)
    for number in (1, 2):
        write_halver(directory / str(number), float(number))
    return directory


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    places = {name: root / "models" / name for name in ("halver", *MODELS)}
    write_halvers(places["halver"])
    for name, make in MODELS.items():
        saved(make(), places[name] / "1")
    (root / "models.config").write_text(config_text(places))
    print(
        f"tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file={root}/models.config "
        "--allow_version_labels_for_unavailable_models=true\n"
        "CML_TFSERVING_TARGET=127.0.0.1:8500,127.0.0.1:8501 python -m pytest tests/export/server/test_conformance.py"
    )
