"""The second half of the quickstart: from trained runs to a model that learns from requests.

Exports the CML runs, serves them, adapts through the server to letters of a script that the model never saw, and shows
the address of the page to play with. At a terminal it serves on until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path

import keras
from rich.console import Console

from cml_tf.experiments.runs import load_run
from cml_tf.system.files import write_text
from cml_tf.system.stages import Stages
from export.client import FewShotClient
from export.client.contact_sheet import contact_sheet
from export.client.examples import read_queries, read_support
from export.client.printed import accuracy
from export.exporter import CARD, EXTRA, Options, export_run, exportable
from export.graph.serving_module import ServingModule
from export.playground.site import address
from export.quickstart.beside import second_process
from export.quickstart.letters import QUERIES, SUPPORT, write_letters
from export.quickstart.plan import CML, SHOTS, SINUSOID, WAYS, interpreter
from export.server.child import ServerFailed, ServerProcess, server_process
from export.versions import existing_versions

MODELS, LETTERS, TASK, SHEET = "models", "letters", "task.npz", "letters.html"
_QUERIES_A_LETTER = 15
# What clients call the model of each run.
_MODELS = {CML: "letters", SINUSOID: "waves"}


def export_and_serve(workdir: Path, console: Console, rest_port: int, keep_serving: bool) -> None:
    """Exports, serves, adapts.

    Args:
      workdir: of the finished quickstart.
      console: where to say it.
      rest_port: 0 for any free one.
      keep_serving: whether to serve on until interrupted.

    Raises:
      RunError, ExportError: if a run is missing or cannot be exported.
      ServerFailed, ClientError: if the models cannot be served and asked.
    """
    stages = Stages(console, 3)
    with stages.stage("Exporting both CML models with their adaptation"):
        for version in _all_exported(workdir):
            console.print(f"     {version}", highlight=False, markup=False)
    config = workdir / MODELS / "models.config"
    write_text(config, _model_config(workdir / MODELS))
    log = workdir / "serving.log"
    flags_of_server = [f"--model_config_file={config}", f"--rest_port={rest_port}", "--playground"]
    with contextlib.ExitStack() as stack:
        with stages.stage("Serving them on this machine"):
            server = stack.enter_context(server_process(flags_of_server, log))
        with stages.stage("Adapting to letters of an unseen script, through the server"):
            _adapt(workdir, server, console)
        # Both processes of the terminal get the Ctrl-C; the server then finishes what is in flight, and ends with 0
        # because it was told to, which may be known here before the Ctrl-C is.
        with contextlib.suppress(KeyboardInterrupt):
            _conclude(console, workdir, config, server, keep_serving)
            if keep_serving and (code := server.process.wait()):
                told = log.read_text(encoding="utf-8", errors="replace")
                raise ServerFailed(f"the server ended unexpectedly ({code}): {told[-2000:]}")


def _all_exported(workdir: Path) -> list[Path]:
    """The version of each run."""
    given = [(workdir / name, workdir / MODELS / model) for name, model in _MODELS.items()]
    with second_process() as other:
        last = other.submit(_exported, *given[-1])
        return [*(_exported(*each) for each in given[:-1]), last.result()]


def _exported(run: Path, model_dir: Path) -> Path:
    """The version of a run; a run that has one is not exported again."""
    keras.backend.clear_session()
    newest = max(existing_versions(model_dir).items(), default=None)
    if newest is not None:
        card = json.loads((newest[1] / EXTRA / CARD).read_text(encoding="utf-8"))
        if card["variables_sha256"] == ServingModule(exportable(load_run(run), Options())).digest:
            return newest[1]
    return export_run(run, model_dir)


def _model_config(models: Path) -> str:
    entries = (
        f"  config {{ name: {json.dumps(model)} base_path: {json.dumps(str((models / model).resolve()))} "
        'model_platform: "tensorflow" }\n'
        for model in _MODELS.values()
    )
    return "model_config_list {\n" + "".join(entries) + "}\n"


def _adapt(workdir: Path, server: ServerProcess, console: Console) -> None:
    letters = workdir / LETTERS
    names = write_letters(letters, WAYS, SHOTS, _QUERIES_A_LETTER)
    support, queries = read_support(letters / SUPPORT), read_queries(letters / QUERIES)
    with FewShotClient(f"grpc://{server.grpc}", _MODELS[CML]) as client:
        adapted = client.adapt(support.inputs, support.targets)
        adapted.save(letters / TASK)
        answer = client.predict(adapted, queries.inputs)
    write_text(workdir / SHEET, contact_sheet(answer, queries, support))
    share = accuracy(answer, queries)
    assert share is not None
    told = f"{len(support.names)} images given, {share:.0%} of {len(queries.names)} others classified correctly"
    console.print(
        f"     {', '.join(sorted(names))}: {told}; see {workdir / SHEET}", highlight=False, markup=False, soft_wrap=True
    )


def _conclude(console: Console, workdir: Path, config: Path, server: ServerProcess, serving: bool) -> None:
    letters, python = workdir / LETTERS, interpreter()
    serve = shlex.join(["-m", "export.serve", f"--model_config_file={config}", "--playground"])
    ask = shlex.join(
        ["-m", "export.client.predict", f"--adapted={letters / TASK}", f"--query={letters / QUERIES}"]
        + ([f"--address=grpc://{server.grpc}"] if serving else [])
    )
    lines = [f"\n  # Send queries with what the server has learned from {letters / SUPPORT}:", f"  {python} {ask}"]
    if serving:
        pages = [f"  {address(server.rest, model)}" for model in _MODELS.values()]
        lines = ["\nServing until Ctrl-C. Try the models at", *pages, *lines]
    else:
        lines = ["\n  # Serve the models, with a page to try them at the address that the server prints:"] + [
            f"  {python} {serve}",
            *lines,
        ]
    for line in lines:
        # To be copied: neither wrapped nor coloured nor taken for markup.
        console.print(line, highlight=False, markup=False, soft_wrap=True)
