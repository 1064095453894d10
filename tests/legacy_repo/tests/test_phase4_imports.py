"""Load the modules of phase 4 from their files."""

import importlib.util
from pathlib import Path

FILES = [
    ("bem.subspace", "bem/subspace.py"),
    ("bem.trust_region", "bem/trust_region.py"),
    ("bem.multi_bem", "bem/multi_bem.py"),
]


def load(module_name: str, file_path: str):
    spec = importlib.util.spec_from_file_location(module_name, file_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package_exists() -> bool:
    return Path("bem/__init__.py").exists()


if __name__ == "__main__":
    print(package_exists(), [load(*pair) for pair in FILES if Path(pair[1]).exists()])
