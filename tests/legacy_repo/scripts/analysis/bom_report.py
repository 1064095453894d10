"""Begins with a byte order mark."""

from bem.simple_bem import compute_effective_rank

print("Effektiver Rang – «ρ»:", compute_effective_rank.__name__)
