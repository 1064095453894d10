"""Version 1.3, all missions."""

import unittest

try:
    from bem2.router.agentic_router import AgenticRouter
    from bem2.router.macro_policy import MacroPolicy
    from bem2.perftrack.pt1_head_gating import HeadGatingModule
    from bem2.perftrack.pt2_dynamic_mask import DynamicMaskModule
    from bem2.perftrack.pt3_kronecker import KroneckerModule
    AVAILABLE = True
except ImportError:
    AVAILABLE = False


@unittest.skipUnless(AVAILABLE, "missions are missing")
class TestMissions(unittest.TestCase):
    def test_names(self):
        self.assertTrue(AgenticRouter and MacroPolicy and KroneckerModule)
        self.assertEqual(HeadGatingModule.__name__, "HeadGroupGatingModule")
        self.assertEqual(DynamicMaskModule.__name__, "DynamicRankMaskModule")
