"""Loggers for experiments."""

import logging
import sys
from pathlib import Path
from typing import Optional, Union


def setup_logger(
    name: str,
    level: Union[str, int] = logging.INFO,
    log_file: Optional[Union[str, Path]] = None,
    console_output: bool = True,
    format_string: Optional[str] = None,
) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.handlers.clear()
    handlers = [logging.StreamHandler(sys.stderr)] if console_output else []
    if log_file:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(format_string or "%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    return logger


def get_logger(name: str) -> logging.Logger:
    return logging.getLogger(name)


def log_system_info(logger: logging.Logger) -> None:
    import platform
    import torch

    logger.info("python %s on %s, torch %s", platform.python_version(), platform.system(), torch.__version__)


def log_experiment_info(logger: logging.Logger, experiment_name: str, config: dict) -> None:
    logger.info("experiment %s", experiment_name)
    for key, value in config.items():
        logger.info("  %s: %s", key, value)


def create_experiment_logger(
    experiment_name: str, output_dir: Union[str, Path], level: Union[str, int] = logging.INFO
) -> logging.Logger:
    return setup_logger(f"bem_trainer_{experiment_name}", level, Path(output_dir) / f"{experiment_name}.log")
