"""One server for all tests that do not change it."""

from __future__ import annotations

import pytest

from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver


@pytest.fixture(scope="session")
def server(tmp_path_factory, waves, images):
    """Serves `halver` (versions 1 and 2, label `first`), and a few-shot regression and classifier."""
    root = tmp_path_factory.mktemp("served")
    (root / "halver").mkdir()
    write_halver(root / "halver" / "1", 1.0)
    write_halver(root / "halver" / "2", 2.0)
    config = root / "models.config"
    config.write_text(
        "model_config_list {\n"
        f'  config {{ name: "halver" base_path: "{root / "halver"}" model_platform: "tensorflow"\n'
        '    model_version_policy { all {} } version_labels { key: "first" value: 1 } }\n'
        f'  config {{ name: "waves" base_path: "{waves.directory.parent}" model_platform: "tensorflow" }}\n'
        f'  config {{ name: "images" base_path: "{images.directory.parent}" model_platform: "tensorflow" }}\n'
        "}\n"
    )
    flags = [f"--model_config_file={config}", "--max_message_bytes=4000000", "--enable_grpc_healthcheck_service"]
    with running(*flags, log=root / "log") as running_server:
        yield running_server
