"""The examples, which belong to no package, can be imported."""

import sys
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    loaded = set(sys.modules)
    yield
    for name in set(sys.modules) - loaded:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == EXAMPLES:
            del sys.modules[name]
