"""The host monitor does its work with a detector in Python."""

import sys
import unittest

from examples.host_monitor import monitor_run

# Twice as fast as users run it.
FLAGS = ["--period=50ms", "--refresh=200ms"]


class BundledPythonTest(unittest.TestCase):
    def test_detector_in_python_is_one_of_three_processes(self):
        with monitor_run.MonitorRun("bundled_python.toml", FLAGS) as run:
            run.start_all()
            run.wait_for("detector", r"^detector: knows ")
            run.find_anomaly()
            run.wait_for_samples(100)
            run.stop_all()
            monitor_run.check_did_its_work(run)
            for link in run.links():
                if link.subscriber:
                    self.assertEqual(link.transport, "shm", link)
            joints = run.joints()
            self.assertEqual(len(joints), 6, joints)  # Each pair, from both ends.
            for joint in joints:
                self.assertEqual(joint.transport, "shm", joint)
                self.assertEqual(joint.fallback, "", joint)


if __name__ == "__main__":
    sys.exit(unittest.main())
