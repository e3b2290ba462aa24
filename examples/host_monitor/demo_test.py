"""The demo of tools/quickstart does its work, and fails if it does not."""

import contextlib
import io
import sys
import unittest

from examples.host_monitor import demo
from examples.host_monitor import monitor_run

# Twice as fast as users run it, and shorter.
FLAGS = ["--period=50ms", "--refresh=200ms"]
SAMPLES = 20


class DemoTest(unittest.TestCase):
    def run_demo(self):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = demo.main(SAMPLES, FLAGS)
        return status, out.getvalue(), err.getvalue()

    def test_every_topology_runs_and_every_ledger_balances(self):
        status, out, err = self.run_demo()
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("== monolith.toml: one process", out)
        self.assertIn("== bundled.toml: three processes", out)
        self.assertIn("-- sampler-node to detector-node: shm (", out)
        self.assertIn("] over inproc: accepted ", out)
        self.assertIn("] over shm: accepted ", out)
        self.assertIn("== distributed.toml: three processes", out)
        self.assertIn("over grpc", out)
        self.assertIn(": balances", out)
        self.assertNotIn("DOES NOT BALANCE", out)
        self.assertTrue(out.endswith("every message is accounted for.\n"), out)

    def test_work_that_is_not_done_is_a_failure(self):
        def not_done(_):
            raise monitor_run.Failure("no message arrived")

        check = monitor_run.check_did_its_work
        monitor_run.check_did_its_work = not_done
        try:
            status, out, err = self.run_demo()
        finally:
            monitor_run.check_did_its_work = check
        self.assertEqual((status, err), (1, "demo: no message arrived\n"))
        self.assertNotIn("is accounted for", out)


if __name__ == "__main__":
    sys.exit(unittest.main())
