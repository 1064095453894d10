"""Core of the pipeline."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def test_path():
    assert sys.path[0].endswith("tests")
