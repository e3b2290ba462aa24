"""The host monitor does its work under every topology, and survives a death."""

import sys
import unittest

from examples.host_monitor import monitor_run

# Twice as fast as users run it.
FLAGS = ["--period=50ms", "--refresh=200ms"]
# Enough samples to show a ledger that miscounts only now and then.
SAMPLES = 100


class HostMonitorTest(unittest.TestCase):
    def test_monolith_passes_pointers(self):
        with monitor_run.MonitorRun("monolith.toml", FLAGS) as run:
            self._run_to_the_end(run)
            self._expect_transport(run, "inproc")

    def test_bundled_shares_memory(self):
        with monitor_run.MonitorRun("bundled.toml", FLAGS) as run:
            self._run_to_the_end(run)
            self._expect_transport(run, "shm")
            joints = run.joints()
            self.assertEqual(len(joints), 6, joints)
            for joint in joints:
                self.assertEqual(joint.transport, "shm", joint)
                self.assertEqual(joint.fallback, "", joint)

    def test_distributed_uses_grpc(self):
        with monitor_run.MonitorRun("distributed.toml", FLAGS) as run:
            self._run_to_the_end(run)
            self._expect_transport(run, "grpc")

    def test_restarted_detector_goes_on_where_a_killed_one_stopped(self):
        with monitor_run.MonitorRun("bundled.toml", FLAGS) as run:
            run.start_all()
            run.wait_for("detector", r"^detector: knows ")
            run.find_anomaly()

            run.kill("detector")
            # The other services notice only that the detector is gone.
            for _ in range(3):
                after = run.position("reporter")
                run.wait_for("reporter", r"^sample ", after)

            # The anomalies of the first detector.
            told = run.count("reporter", r"^anomaly: ")
            run.start(["detector"])
            run.wait_for("detector", r"^detector: knows ")
            run.find_anomaly()
            run.wait_for_samples(SAMPLES)
            run.stop_all()

            # The counts of the killed detector are gone, so only these add up.
            survivors = run.link("sampler", "reporter")
            self.assertTrue(survivors.balances(), survivors)
            self.assertGreater(survivors.delivered, 0)
            self.assertFalse(survivors.dropped, survivors)
            samples = run.link("sampler", "detector")
            self.assertGreater(samples.delivered, 0)
            self.assertLess(samples.delivered, samples.accepted)
            self.assertEqual(samples.in_flight, 0)
            # All that the second detector accepted, the reporter got.
            anomalies = run.link("detector", "reporter")
            self.assertGreater(anomalies.accepted, 0)
            self.assertEqual(anomalies.delivered, told + anomalies.accepted)
            self.assertFalse(anomalies.dropped, anomalies)
            self.assertEqual(anomalies.in_flight, 0)

    def _run_to_the_end(self, run):
        run.start_all()
        run.wait_for("detector", r"^detector: knows ")
        run.find_anomaly()
        run.wait_for_samples(SAMPLES)
        run.stop_all()
        monitor_run.check_did_its_work(run)

    def _expect_transport(self, run, transport):
        for link in run.links():
            if link.subscriber:
                self.assertEqual(link.transport, transport, link)


if __name__ == "__main__":
    sys.exit(unittest.main())
