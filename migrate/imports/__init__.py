"""Rewriting of references to moved modules and names."""
