"""A py_test that runs its file under pytest. Bazel's own would import the file and report success."""

load("@rules_python//python:defs.bzl", native_py_test = "py_test")

_PYTEST = "@pypi_dev//pytest"

def py_test(name, srcs, data = [], deps = [], **kwargs):
    """Runs one test file, its slow tests included.

    Args:
      name: the name of the target.
      srcs: the test file, alone.
      data: as for py_test; pytest's settings are added.
      deps: as for py_test; pytest is added.
      **kwargs: handed on.
    """
    main = name + "_main.py"
    native.genrule(
        name = name + "_main",
        testonly = True,
        outs = [main],
        cmd = "\n".join([
            "cat > $@ << 'END'",
            "import sys",
            "import pytest",
            "test = '%s/%s'" % (native.package_name(), srcs[0]),
            "sys.exit(pytest.main(['-c', 'pyproject.toml', '-p', 'no:cacheprovider', '-m', '', test, *sys.argv[1:]]))",
            "END",
        ]),
    )
    native_py_test(
        name = name,
        srcs = srcs + [main],
        main = main,
        data = data + [label for label in ["//:pyproject.toml"] if label not in data],
        deps = deps + [label for label in [_PYTEST] if label not in deps],
        **kwargs
    )
