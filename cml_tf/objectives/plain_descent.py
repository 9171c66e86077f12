"""What objectives that do not differentiate the inner loop ask of it: plain descent of all parameters."""

from __future__ import annotations

from cml_tf.adaptation.class_rows import OWN
from cml_tf.registry import Settings, member


def plain_descent_faults(settings: Settings, term: str, *, steps: str, partition: str, variables: str) -> list[str]:
    """Why such an objective cannot be part of a configuration; at most one reason.

    Args:
      settings: by dotted key.
      term: its name.
      steps: what it has to do with inner steps, for the message.
      partition: why all parameters must adapt.
      variables: why the update rule must have no variables of its own.
    """
    rule, update = settings["adaptation.rule"], settings.get("adaptation.update")
    if update is None:
        return [
            f"adaptation.rule must be a rule with inner steps (gradient_descent) with {term}, which {steps}, received "
            f"{rule!r}."
        ]
    if member("rule", rule).traits["adapts"](settings) != {"extractor", "head"}:
        return [
            f"adaptation.partition must be 'all' with {term}, {partition}, received "
            f"{settings.get('adaptation.partition')!r}."
        ]
    if (rows := settings.get("adaptation.class_rows", OWN)) != OWN:
        return [
            f"adaptation.class_rows must be {OWN!r} with {term}, which trains the parameters that a task begins with, "
            f"received {rows!r}."
        ]
    if member("update", update).traits["learned"]:
        return [
            f"adaptation.update must be a rule without variables (sgd) with {term}, whose {variables}, received "
            f"{update!r}."
        ]
    if member("hypergradient", settings["hypergradient.name"]).traits["second_order"]:
        return [
            f"hypergradient.name must be 'first_order' with {term}, which does not differentiate the inner loop, "
            f"received {settings['hypergradient.name']!r}."
        ]
    return []
