"""Training of composed BEMs."""

import logging

from .multi_bem import MultiBEMComposer

logger = logging.getLogger(__name__)


class CompositionTrainer:
    def __init__(self, composer: MultiBEMComposer):
        self.composer = composer

    def check(self, alone: dict, together: dict) -> dict:
        from .interference_testing import InterferenceTester

        return InterferenceTester().compare(alone, together)

    def configurations(self) -> list:
        try:
            from .interference_testing import BEMConfiguration

            return [BEMConfiguration(bem_id) for bem_id in self.composer.bems]
        except Exception as error:
            logger.warning("no configurations: %s", error)
            return []
