#!/usr/bin/env python3
"""Are all files of version 1.1 there, and do they define what they should?"""

from pathlib import Path

DIRECTORIES = [
    "bem",
    "bem/modules",
    "bem/models",
    "bem/training",
    "bem/evaluation",
]

EXPECTED = {
    "bem/modules/parallel_lora.py": ["GeneratedParallelLoRA", "AdapterGenerator"],
    "bem/modules/chunk_sticky_routing.py": ["ChunkStickyRouter"],
    "bem/modules/governance.py": ["BEMGovernance", "SpectralGovernance"],
}

FEATURES = [
    ("bem/modules/parallel_lora.py", "def forward"),
    ("bem/modules/governance.py", "apply_spectral_clamp"),
]


def main():
    missing = [name for name in DIRECTORIES if not Path(name).is_dir()]
    for path, names in EXPECTED.items():
        text = Path(path).read_text() if Path(path).exists() else ""
        missing += [f"{path}: {name}" for name in names if name not in text]
    missing += [path for path, text in FEATURES if not (Path(path).exists() and text in Path(path).read_text())]
    print("\n".join(missing) or "complete")


if __name__ == "__main__":
    main()
