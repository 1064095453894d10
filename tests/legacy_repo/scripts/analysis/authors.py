#!/usr/bin/env python3
# -*- coding: latin-1 -*-
"""Encoded as its cookie says."""

AUTHORS = ["Zoë", "Jürgen", "François"]
from bem.hierarchical_bem import HierarchicalBEMConfig

print(AUTHORS, HierarchicalBEMConfig())
