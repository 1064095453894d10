"""Are the modules of phase 3 there? Nothing is imported."""

import importlib.util

MODULES = [
    "bem.retrieval",
    "bem.retrieval_features",
    "bem.retrieval_bem",
]


def check(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    print({module_name: check(module_name) for module_name in MODULES})
