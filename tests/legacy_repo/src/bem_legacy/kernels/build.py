"""Build the kernels.

Usage:
    python bem/kernels/build.py --check-numerics --tol 1e-3
"""

import argparse


def check_numerics(tolerance: float) -> bool:
    try:
        from .cuda_ops import fused_generated_update, validate_numerical_accuracy
    except (ImportError, RuntimeError) as error:
        print(f"kernels cannot be loaded: {error}")
        return False
    return callable(fused_generated_update) and validate_numerical_accuracy(tolerance)


def main():
    parser = argparse.ArgumentParser(description="Build the BEM kernels")
    parser.add_argument("--check-numerics", action="store_true")
    parser.add_argument("--tol", type=float, default=1e-3)
    args = parser.parse_args()
    if args.check_numerics:
        print("ok" if check_numerics(args.tol) else "failed")


if __name__ == "__main__":
    main()
