"""The registry: members of the axes by name, with their options.

A member registers in its own file: a name, a frozen dataclass of options, a builder. Configuration, its checks, the
words of configuration files, recipes, docs/CONFIGURATION.md and the contract tests follow from that. A package of your
own registers its members the same way (CONTRIBUTING.md), by being imported.
"""

from cml_tf.registry.choice import Choice, Key, faults_of
from cml_tf.registry.members import (
    AFTER_TRAINING,
    AXES,
    Axis,
    ConfigurationError,
    Given,
    Member,
    NoOptions,
    Settings,
    axis_of,
    import_members,
    member,
    members,
    register,
)
from cml_tf.registry.options import Option, option, option_fields, type_name
from cml_tf.registry.variants import Variant, setting, variant, variants

__all__ = [
    "AFTER_TRAINING",
    "AXES",
    "Axis",
    "Choice",
    "ConfigurationError",
    "Given",
    "Key",
    "Member",
    "NoOptions",
    "Option",
    "Settings",
    "Variant",
    "axis_of",
    "faults_of",
    "import_members",
    "member",
    "members",
    "option",
    "option_fields",
    "register",
    "setting",
    "type_name",
    "variant",
    "variants",
]
