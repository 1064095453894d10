"""Runs of the experiment runner, with everything patched away."""

from unittest.mock import patch


class ExperimentRunner:
    def run_experiment(self, name):
        return 0


def test_runs():
    with patch('train.main') as main, patch.object(ExperimentRunner, 'run_experiment', return_value=1) as run:
        assert ExperimentRunner().run_experiment("v1") == 1
