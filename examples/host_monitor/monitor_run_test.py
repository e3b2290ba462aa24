"""The watch over the processes ends, whatever the processes print."""

import sys
import unittest
from unittest import mock

from examples.host_monitor import monitor_run


class ScriptedRun(monitor_run.MonitorRun):
    """All services are one process that runs the given Python."""

    def __init__(self, script):
        super().__init__("monolith.toml")
        self._script = script

    def _program(self, services):
        return [sys.executable, "-u", "-c", self._script]


class MonitorRunTest(unittest.TestCase):
    def test_sample_that_is_shown_again_is_passed_over(self):
        with ScriptedRun("for n in 1, 1, 3: print(f'sample {n}: x')") as run:
            run.start_all()
            self.assertEqual(run.wait_for_samples(3), "sample 3: x")

    def test_reporter_that_ends_too_soon_is_a_failure(self):
        with ScriptedRun("for n in 1, 1, 3: print(f'sample {n}: x')") as run:
            run.start_all()
            with self.assertRaises(monitor_run.Failure):
                run.wait_for_samples(4)

    def test_reporter_to_which_no_sample_comes_is_a_failure(self):
        with ScriptedRun("while True: print('sample 1: x')") as run:
            run.start_all()
            run.wait_for("reporter", "sample 1")
            with self.assertRaises(monitor_run.Failure):
                run.wait_for_samples(2, timeout=0.1)

    def test_machine_is_not_loaded_for_a_reporter_that_has_ended(self):
        with ScriptedRun("print('over')") as run:
            run.start_all()
            # A second call raises StopIteration.
            with mock.patch.object(run, "burn", side_effect=[None]):
                with self.assertRaises(monitor_run.Failure):
                    run.find_anomaly()

    def test_next_load_ends_the_one_before(self):
        started = []

        def start(*_):
            started.append(mock.Mock())
            return started[-1]

        with ScriptedRun("") as run:
            with mock.patch.object(monitor_run.subprocess, "Popen", start):
                run.burn()
                first = list(started)
                run.burn()
            for burner in first:
                burner.kill.assert_called_once()
                burner.wait.assert_called_once()
            self.assertEqual(len(started), 2 * len(first))


if __name__ == "__main__":
    sys.exit(unittest.main())
