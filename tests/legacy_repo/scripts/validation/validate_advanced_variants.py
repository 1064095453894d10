#!/usr/bin/env python3
"""Can the variants be imported?"""

import sys


def check_package():
    try:
        from bem import BEMv11Stable, AdvancedBEMFactory, AdvancedVariantsRunner

        return [BEMv11Stable, AdvancedBEMFactory, AdvancedVariantsRunner]
    except Exception as e:
        print(f"package: {e}")
        return []


def check_modules():
    found = []
    try:
        from bem.modules.dual_path_lora import create_dual_path_lora_for_model, OrthogonalityRegularizer

        found += [create_dual_path_lora_for_model, OrthogonalityRegularizer]
    except Exception as e:
        print(f"dual path: {e}")
    try:
        from bem.modules.film_lite import FiLMLiteBEM

        found.append(FiLMLiteBEM)
    except Exception as e:
        print(f"film: {e}")
    return found


if __name__ == "__main__":
    sys.exit(0 if check_package() and check_modules() else 1)
