"""Edited on two systems."""

import json
from bem.multi_bem import MultiBEMConfig

print(json.dumps(vars(MultiBEMConfig())))
