"""The program says which flag is wrong, and ends when it was told to."""

import os
import subprocess
import sys
import tempfile
import unittest

from examples.host_monitor import monitor_run

FOLDER = os.path.dirname(os.path.abspath(monitor_run.__file__))


class ArgumentsTest(unittest.TestCase):
    def run_program(self, *arguments):
        """The program with all services in one process, which run for no time."""
        with tempfile.TemporaryDirectory(prefix="hm-", dir="/tmp") as folder:
            return subprocess.run(
                [
                    os.path.join(FOLDER, "host_monitor"),
                    "--topology=" + os.path.join(FOLDER, "monolith.toml"),
                    "--services=sampler,detector,reporter",
                    "--run_for=0",
                    *arguments,
                ],
                env=dict(os.environ, XDG_RUNTIME_DIR=folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=monitor_run.DEADLINE_S,
                encoding="utf-8",
                check=False,
            )

    def expect_refused(self, argument, why):
        ended = self.run_program(argument)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended)
        self.assertIn("INVALID_ARGUMENT: " + why, ended.stderr)

    def test_period_that_is_too_short_or_too_long_is_refused(self):
        for flag in "period", "refresh":
            for value in "1ms", "24h":
                ended = self.run_program(f"--{flag}={value}")
                self.assertEqual(ended.returncode, 0, ended)
            for value in "999us", "0", "-1s", "24h1ns", "inf":
                self.expect_refused(f"--{flag}={value}", f"--{flag}: ")
        self.expect_refused("--period=0", "--period: 0 is not from 1ms to 24h")

    def test_negative_time_to_run_is_refused(self):
        self.expect_refused("--run_for=-1s", "--run_for: -1s is less than 0")

    def test_service_that_belongs_to_no_flag_is_refused(self):
        self.expect_refused("detector", '"detector" belongs to no flag')

    def test_program_that_was_stopped_goes_on(self):
        flags = ["--period=50ms", "--refresh=50ms"]
        with monitor_run.MonitorRun("monolith.toml", flags) as run:
            run.start_all()
            run.wait_for_samples(1)
            run.pause("reporter")
            for _ in range(3):
                after = run.position("reporter")
                run.wait_for("reporter", r"^sample ", after)
            run.stop_all()


if __name__ == "__main__":
    sys.exit(unittest.main())
