#!/usr/bin/env bash
set -e

export PYTHONPATH="${PYTHONPATH}:$(pwd)"

python -c "import bem; print('BEM package loaded')" || {
    echo "BEM package not found"
    exit 1
}

python -m bem2.router.synthesize_traces --out data/traces.json
python -m bem2.training.train --config experiments/v1_dynrank.yml --output-dir logs --experiment-name v1
docker run --rm bem:latest python scripts/utilities/train.py
