"""Can the safety mission be imported?"""


def check_imports():
    try:
        from bem2.safety import OrthogonalSafetyBasis, SafetyBasisConfig, ConstitutionalScorer

        return [OrthogonalSafetyBasis, SafetyBasisConfig, ConstitutionalScorer]
    except ImportError as e:
        print(f"import failed: {e}")
    except Exception as e:
        print(f"broken: {e}")
    return []


def check_configs():
    try:
        from bem2.safety import SafetyBasisConfig, ValueModelConfig, ConstraintConfig

        return SafetyBasisConfig(), ValueModelConfig(), ConstraintConfig()
    except Exception as e:
        print(e)
        return ()


if __name__ == "__main__":
    print(check_imports(), check_configs())
