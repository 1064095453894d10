#!/usr/bin/env python3
"""The T1 workflow: which system runs which stage."""

from dataclasses import dataclass


@dataclass
class Stage:
    name: str
    system: str = "bem2"
    timeout_hours: int = 48


def stages():
    return [Stage("train"), Stage("evaluate"), Stage(name="report", system="bem2")]


if __name__ == "__main__":
    print(stages())
