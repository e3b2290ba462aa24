"""What docs/stopping.md shows loses nothing: services end while others read."""

import os
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

import mycelium
from tests.docs import plant_pb2

LONG = 30
TOPOLOGY = "tests/docs/plant.toml"
PYTHON = [sys.executable, "tests/docs/stopping.py"]
TICK = mycelium.RawType("plant.tick")


class Watch:
    """Collects numbers; holds one of them until it may go on."""

    HELD = 20

    def __init__(self, bus, kind, number_of):
        self.numbers = []
        self.held = threading.Event()
        self.may_go = threading.Event()
        self._number_of = number_of
        self.subscription = bus.subscribe(kind, self._on_message)

    def _on_message(self, message):
        self.numbers.append(self._number_of(message))
        if len(self.numbers) == self.HELD:
            self.held.set()
            self.may_go.wait(LONG)


class StoppingTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="st-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        os.environ["XDG_RUNTIME_DIR"] = folder.name

    def start(self, command):
        process = subprocess.Popen(
            command,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.addCleanup(process.kill)
        return process

    def finish(self, process):
        output, errors = process.communicate(timeout=LONG)
        self.assertEqual((process.returncode, errors), (0, ""))
        return output

    def check(self, command, kind, number_of):
        with mycelium.MessageBus.from_topology(TOPOLOGY, "watch") as bus:
            watch = Watch(bus, kind, number_of)
            service = self.start(command)
            if not watch.held.wait(LONG):
                service.kill()
                self.fail(service.communicate())
            service.terminate()
            told, last = service.stdout.readline().rsplit(maxsplit=1)
            self.assertEqual(told, "stopping after")
            watch.may_go.set()  # Not before the service has stopped.
            self.assertEqual(self.finish(service), "lost: 0\n")
            self.assertEqual(watch.numbers, list(range(1, int(last) + 1)))
            self.assertGreaterEqual(int(last), Watch.HELD)
            (flow,) = bus.ledger()
            self.assertEqual(flow["delivered"], int(last))
            self.assertEqual(sum(flow["dropped"].values()), 0)

    def test_service_in_cpp(self):
        self.check(
            ["tests/docs/stopping_cc", TOPOLOGY],
            plant_pb2.Reading,
            lambda reading: int(reading.celsius),
        )

    def test_service_in_c(self):
        self.check(
            ["tests/docs/stopping_c", TOPOLOGY],
            TICK,
            lambda data: struct.unpack("i", data)[0],
        )

    def test_service_in_python(self):
        self.check(
            PYTHON + [TOPOLOGY],
            plant_pb2.Reading,
            lambda reading: int(reading.celsius),
        )

    def test_receiver_in_python(self):
        with mycelium.MessageBus.from_topology(TOPOLOGY, "sampler") as bus:
            readings = bus.publisher_to("watch", plant_pb2.Reading)
            service = self.start(PYTHON + ["receive", TOPOLOGY])
            readings.wait_for_subscribers(1, LONG)
            readings.publish(plant_pb2.Reading(celsius=1))
            self.assertEqual(service.stdout.readline(), "1.0\n")
            service.terminate()  # While it waits, or soon will.
            self.assertEqual(self.finish(service), "")
            bus.flush(LONG)
            (flow,) = bus.ledger()
            self.assertEqual((flow["accepted"], flow["in_flight"]), (1, 0))


if __name__ == "__main__":
    unittest.main()
