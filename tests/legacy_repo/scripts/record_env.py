#!/usr/bin/env python3
"""Record versions of packages and the state of the kernels."""

import json

PACKAGES = ["torch", "yaml", "bem"]
NOTE = "if kernels are missing, run python bem/kernels/build.py first"


def versions() -> dict:
    found = {}
    for package_name in PACKAGES:
        try:
            found[package_name] = getattr(__import__(package_name), "__version__", "unknown")
        except ImportError:
            found[package_name] = None
    return found


if __name__ == "__main__":
    print(json.dumps(versions()), NOTE)
