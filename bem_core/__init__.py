"""Shared training infrastructure: configuration, trainer, evaluation and utilities."""

__version__ = "0.1.0"
