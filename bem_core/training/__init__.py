"""Training: `BaseTrainer` and the parts that it is composed of, each usable by itself."""
