"""Run experiments, each with several seeds, and summarise them; ``--help`` has the options.

    python scripts/utilities/run_bem_experiments.py --experiments v1_dynrank,v2_* --seeds 1,2,3 --baseline v1_dynrank

docs/running.md is the guide.
"""

from __future__ import annotations

from bem_core.experiments.command import main

if __name__ == "__main__":
    main(prog_name="run_bem_experiments.py")
