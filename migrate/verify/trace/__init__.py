"""Recording a training from outside: the program is not edited, and what it computes does not change.

`reader.read_trace` reads a recorded run, `session.tracing` records a block of code, ``bem-migrate verify trace`` a
command. `recording` is what runs inside of the traced process. docs/trace_format.md has the format.
"""
