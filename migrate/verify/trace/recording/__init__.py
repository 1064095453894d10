"""What runs inside of the traced process.

It imports nothing of this project but itself, and by relative names only, because the process may be a program whose
packages have the names of ours: there it is loaded as ``bem_migrate_trace`` (see ``bootstrap/sitecustomize.py``).
"""
