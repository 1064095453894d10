"""Loading of experiments."""

from unittest.mock import patch

import pytest

from src.bem_core.config.config_loader import ConfigLoader


@patch("src.bem_core.config.config_loader.logger")
def test_logs(logger):
    assert ConfigLoader()


def test_settings(monkeypatch, mocker):
    monkeypatch.setattr("src.bem_core.config.config_loader.SECTIONS", {})
    monkeypatch.setattr(ConfigLoader, "load_template", lambda self, name: {})
    mocker.patch("bem.controller.HierarchicalController.forward")


def test_optional():
    retrieval = pytest.importorskip("bem.retrieval")
    assert retrieval.MicroRetriever
