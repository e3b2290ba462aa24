"""Which output of a checker counts as a mutation that is found."""

import unittest

from tests.model import mutate

_HOLDS = "lossless_wrap: 12 executions, 34 states: all laws hold\n"
_BROKEN = "handed_on: 5 executions, 6 states: race: write to ring[8]"
_TRACE = "    thread 0: store ring[0], release: 48\n"
_TOO_MANY = "handed_on: 5 executions, 6 states: NOT COMPLETE\n"
_NO_SUCH = "there is no such scenario\n"


class BrokenLawTest(unittest.TestCase):

    def test_first_broken_law_counts(self):
        self.assertEqual(
            mutate.broken_law(1, _HOLDS + _BROKEN + "\n" + _TRACE), _BROKEN
        )

    def test_scenario_that_there_is_not_does_not_count(self):
        self.assertIsNone(mutate.broken_law(1, _NO_SUCH))

    def test_incomplete_scenario_does_not_count(self):
        self.assertIsNone(mutate.broken_law(1, _TOO_MANY))

    def test_crash_does_not_count(self):
        self.assertIsNone(mutate.broken_law(-6, _BROKEN + "\n"))

    def test_other_words_do_not_count(self):
        self.assertIsNone(mutate.broken_law(1, "std::bad_alloc\n" + _HOLDS))


class AllHoldTest(unittest.TestCase):

    def test_scenarios_that_hold_are_green(self):
        self.assertTrue(mutate.all_hold(0, _HOLDS))

    def test_nothing_explored_is_not_green(self):
        self.assertFalse(mutate.all_hold(0, ""))

    def test_broken_law_is_not_green(self):
        self.assertFalse(mutate.all_hold(1, _HOLDS + _BROKEN + "\n"))


if __name__ == "__main__":
    unittest.main()
