"""Run one command and write what it cost to a JSON file: ``_launch.py RESULT COMMAND...``.

The benchmark starts this with ``python -I -S`` instead of the command itself, because Linux counts the pages of the
process that forks into the peak memory of what it starts: under a program that holds corpora, the figure for ``grep``
would be that program's. What is left of the effect is a floor of about 10 MB.
"""

import json
import os
import resource
import sys
import time


def main() -> None:
    """Run the command to its end; the figures are those of it and all processes that it waited for."""
    result, command = sys.argv[1], sys.argv[2:]
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    status = os.waitpid(pid, 0)[1]
    wall_s = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w", encoding="utf-8") as file:
        json.dump(figures, file)


main()
