"""Does the same seed give the same numbers?"""

import random
import sys


def test_seed():
    random.seed(1)
    first = random.random()
    random.seed(1)
    assert random.random() == first
    if "psutil" in sys.modules:
        assert sys.modules["psutil"]
