"""Find what configurations share, and write it into templates."""
