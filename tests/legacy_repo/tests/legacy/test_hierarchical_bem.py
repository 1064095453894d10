"""Tests that were moved without their imports."""

import pytest

from .controller import HierarchicalController, PrefixRouter, ChunkRouter


@pytest.mark.parametrize("router", [PrefixRouter, ChunkRouter])
def test_routers(router):
    assert router and HierarchicalController
