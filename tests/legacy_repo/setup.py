"""Package the BEM sources."""

import os

from setuptools import find_packages, setup

version_vars = {}
with open(os.path.join("src", "bem_core", "_version.py")) as f:
    exec(f.read(), version_vars)

setup(
    name="bem",
    version=version_vars["__version__"],
    packages=find_packages(where="src"),
    package_dir={"": "src"},
    package_data={
        "bem_core": ["config/templates/*.yaml", "config/schemas/*.json"],
        "bem2": ["**/*.yaml", "**/*.json"],
    },
    provides=["bem"],
    entry_points={
        "console_scripts": [
            "bem-info = bem_core._version:print_version_info",
            "bem-demo = scripts.demos.demo_unified_bem:main",
            "bem-train = scripts.train_experiment:main",
            "bem-router = src.bem2.router.train_agentic_router:main",
        ]
    },
)
