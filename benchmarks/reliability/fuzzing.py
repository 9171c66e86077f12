"""Broken requests without end: `python -m benchmarks.reliability.fuzzing --decoder=rest|grpc [--seconds=600 --seed=0]`.

Requests that are sound are broken at random and handed to a decoder of the embedded server. Where atheris is installed,
it breaks them instead, led by which lines of the decoders a request reaches. Prints the figures, memory among them, as
one JSON object; a request that makes another exception is printed whole, and ends the program.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.reliability.broken_requests import fuzz, sound, tried
from cml_tf.system.command_line import run
from export.server import json_predict, json_text, prediction

_DECODER = flags.DEFINE_enum("decoder", None, ["rest", "grpc"], "Which of the two is asked.", required=True)
_SECONDS = flags.DEFINE_float("seconds", 600.0, "For how long.", 1.0)
_SEED = flags.DEFINE_integer("seed", 0, "Of what is broken.", 0)


def main(arguments: list[str]) -> None:
    """Fuzzes one decoder."""
    del arguments
    if importlib.util.find_spec("atheris"):
        _guided(_DECODER.value, _SECONDS.value, _SEED.value)
    else:
        print(json.dumps(fuzz(_DECODER.value, _SECONDS.value, _SEED.value)))


def _guided(decoder: str, seconds: float, seed: int) -> None:
    """Lets atheris look for requests; it ends the process itself, and prints its own figures."""
    import atheris

    with atheris.instrument_imports(include=["export.server"], enable_loader_override=False):
        # What json_predict uses comes first.
        for module in (json_text, json_predict, prediction):
            importlib.reload(module)
    corpus = Path(tempfile.mkdtemp())
    for number, request in enumerate(sound(decoder)):
        (corpus / str(number)).write_bytes(request)
    asked = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-rss_limit_mb=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *asked, str(corpus)], lambda content: tried(decoder, content))
    atheris.Fuzz()


if __name__ == "__main__":
    run(main)
