"""Alignment under constraints: a safety basis in a language model, and a bound on how often its answers violate."""
