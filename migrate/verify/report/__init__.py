"""Verdicts as text, JSON, one HTML page, JUnit XML and annotations. Pure; loads without torch."""
