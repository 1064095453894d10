#!/usr/bin/env python3
"""Star imports: which names come from where?"""

from bem2.perftrack import *
from bem.controller import *


def main():
    controller = HierarchicalController(16, 4)
    film = ResidualFiLMModule(ResidualFiLMConfig(), 0, 16)
    print(RoutingLevel.CHUNK, controller.code_clamp_value, film.layer_idx)


if __name__ == "__main__":
    main()
