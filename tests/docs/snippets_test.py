"""The Python programs of README.md, run as one test."""

import os
import tempfile
import threading
import unittest

import mycelium
from tests.docs import plant_pb2


# [watch]
def watch(topology):
    with mycelium.MessageBus.from_topology(topology, "watch") as bus:
        readings = bus.subscriber(plant_pb2.Reading)
        reading = readings.recv(timeout=10.0)
        readings.finish()  # That one is handled; the next recv() says so too.
        return f"{reading.sensor}: {reading.celsius}"
# [/watch]


# [sample]
def sample(topology):
    with mycelium.MessageBus.from_topology(topology, "sampler") as bus:
        readings = bus.publisher_to("watch", plant_pb2.Reading)
        readings.wait_for_subscribers(1, timeout=10.0)
        readings.publish(plant_pb2.Reading(sensor="boiler", celsius=81.5))
# [/sample]


class SnippetsTest(unittest.TestCase):

    def test_reading_reaches_the_watch(self):
        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            os.environ["XDG_RUNTIME_DIR"] = directory
            seen = []
            thread = threading.Thread(
                target=lambda: seen.append(watch("tests/docs/plant.toml"))
            )
            thread.start()
            sample("tests/docs/plant.toml")
            thread.join()
        self.assertEqual(seen, ["boiler: 81.5"])


if __name__ == "__main__":
    unittest.main()
