"""The first half of the quickstart: what is trained, scored and reported.

Trains MAML and CML on glyphs, 5-way 1-shot, at one small budget, scores both on scripts that they never saw, trains CML
on sine waves, and writes `report.html` with its pictures. Finished runs are not trained again.
"""

from __future__ import annotations

import time

import keras
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cml_tf import datasets
from cml_tf.experiments import stored
from cml_tf.experiments.runs import evaluate_run, train_run
from cml_tf.experiments.stored import RunError
from cml_tf.system.stages import Stages, duration
from cml_tf.training.evaluator import Evaluation
from export.quickstart.beside import second_process
from export.quickstart.page import QuickstartResults, percent, points, reading
from export.quickstart.plan import CML, MAML, SINUSOID, WAVE_STEPS, Plan
from export.quickstart.report import REPORT, write_report


def train_and_report(plan: Plan, console: Console, verbose: int) -> None:
    """Trains, evaluates and reports.

    Args:
      plan: what to do.
      console: where to say it.
      verbose: of the trainings, as in `Trainer.fit`.

    Raises:
      RunError: if the working directory holds something else, or runs with other settings.
    """
    check_workdir(plan)
    started = time.perf_counter()
    stages = Stages(console, 5)
    with stages.stage("Drawing the letters (reused in later runs)"):
        datasets.load("glyphs")
    steps, waves = (plan.config(name).train.steps for name in (MAML, SINUSOID))
    with second_process() as other:
        beside = other.submit(_train_and_score, plan, CML)
        with stages.stage(f"Training MAML and CML side by side on letters, {steps} meta-steps"):
            _train(plan, MAML, verbose)
        with stages.stage(f"Training CML on sine waves, {waves} meta-steps"):
            _train(plan, SINUSOID, verbose)
        with stages.stage(f"Scoring all runs on {plan.episodes} test episodes"):
            wave_scores = {steps: _evaluate(plan, SINUSOID, steps) for steps in WAVE_STEPS}
            evaluations = {MAML: _evaluate(plan, MAML), CML: beside.result()}
    with stages.stage("Drawing pictures and writing the report"):
        results = write_report(plan, evaluations, wave_scores)
    _conclude(console, plan, results, time.perf_counter() - started)


def check_workdir(plan: Plan) -> None:
    """Refuses a directory that is not empty and not a quickstart's, or holds runs with other settings.

    Raises:
      RunError: for such a directory, before anything is written or trained.
    """
    workdir = plan.workdir
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise RunError(f"--workdir must be a directory, received the file {workdir}.")
    if any(workdir.iterdir()) and not plan.run_directory(MAML).is_dir():
        raise RunError(f"{workdir} is not empty and contains no quickstart: choose another --workdir.")
    for name in (MAML, CML, SINUSOID):
        stored.check_workdir(plan.config(name), plan.run_directory(name))


def _train_and_score(plan: Plan, name: str) -> Evaluation:
    _train(plan, name, verbose=0)
    return _evaluate(plan, name)


def _train(plan: Plan, name: str, verbose: int) -> None:
    _fresh_graph()
    train_run(plan.config(name), plan.run_directory(name), verbose)


def _evaluate(plan: Plan, name: str, steps: int | None = None) -> Evaluation:
    _fresh_graph()
    return evaluate_run(plan.run_directory(name), "test", plan.episodes, steps)


def _fresh_graph() -> None:
    # Layer names order the graph, so without this a run would depend on what the process has built before it.
    keras.backend.clear_session()


def _conclude(console: Console, plan: Plan, results: QuickstartResults, seconds: float) -> None:
    table = Table(title=f"Letters of unseen scripts, {results.difference.episodes} episodes")
    table.add_column("run")
    table.add_column("accuracy, 95 % interval", justify="right")
    table.add_row("MAML", f"{percent(results.maml.evaluation).text()} %")
    table.add_row("CML", f"{percent(results.cml.evaluation).text()} %", end_section=True)
    table.add_row("CML − MAML, paired", f"{points(results.difference).text('+')} points")
    console.print()
    console.print(table)
    console.print(reading(results.difference), highlight=False)
    console.print(
        f"\nReport: [bold]{escape(str(plan.workdir / REPORT))}[/bold], after {duration(seconds)}. Next commands:"
    )
    for command in plan.next_commands():
        # Commands are to be copied: neither wrapped nor coloured nor taken for markup.
        console.print(f"\n  # {command.purpose}", highlight=False, markup=False)
        console.print(f"  {command.text}", highlight=False, markup=False, soft_wrap=True)
