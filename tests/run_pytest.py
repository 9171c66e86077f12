"""Runs pytest on what its arguments name: how Bazel starts the tests."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
