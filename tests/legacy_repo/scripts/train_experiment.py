#!/usr/bin/env python3
"""Train any of the first four phases."""

import argparse

import yaml

from bem.controller import HierarchicalController, create_hierarchical_controller
from bem.hierarchical_bem import HierarchicalBEMModule, create_hierarchical_bem
from bem.retrieval_bem import RetrievalAwareBEMModule, create_retrieval_aware_bem
from bem.multi_bem import MultiBEMComposer, create_multi_bem_composer
from bem.simple_bem import SimpleBEMModule
from bem.trust_region import create_trust_region_projector

BUILDERS = {
    "simple": SimpleBEMModule,
    "hierarchical": create_hierarchical_bem,
    "retrieval": create_retrieval_aware_bem,
    "multi": create_multi_bem_composer,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--output-dir")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    with open(args.config) as f:
        config = yaml.safe_load(f)
    print(BUILDERS[config.get("phase", "simple")], HierarchicalController, create_hierarchical_controller)
    print(HierarchicalBEMModule, RetrievalAwareBEMModule, MultiBEMComposer, create_trust_region_projector)


if __name__ == "__main__":
    main()
