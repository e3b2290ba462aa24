"""The tests that docs/testing.md shows, which are tests."""

import unittest

import mycelium
from mycelium import testing
from tests.docs import plant_pb2


# [service]
class Watch:
    """Keeps the hottest reading."""

    def __init__(self, bus):
        self.hottest = None
        self.readings = bus.subscribe(plant_pb2.Reading, self._take)

    def _take(self, reading):
        if self.hottest is None or reading.celsius > self.hottest:
            self.hottest = reading.celsius
# [/service]


# [alone]
class WatchTest(unittest.TestCase):

    def test_keeps_the_hottest(self):
        with mycelium.MessageBus() as bus:  # Within this process.
            watch = Watch(bus)
            readings = bus.publisher(plant_pb2.Reading)
            for celsius in (20.0, 81.5, 30.0):
                readings.publish(plant_pb2.Reading(celsius=celsius))
            bus.flush(timeout=20.0)
            testing.check_all_delivered(bus)
            self.assertEqual(watch.readings.callback_errors, 0)
        self.assertEqual(watch.hottest, 81.5)
# [/alone]


if __name__ == "__main__":
    unittest.main()
