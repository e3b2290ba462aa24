"""A service that ends well when it is told to: docs/stopping.md."""

import signal
import sys

import mycelium
from tests.docs import plant_pb2


# [run]
def run(topology):
    # Before the bus: its threads inherit that no signal interrupts them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)

    bus = mycelium.MessageBus.from_topology(topology, "sampler")
    readings = bus.publisher_to("watch", plant_pb2.Reading)
    readings.wait_for_subscribers(1, timeout=10.0)
    celsius = 0
    while signal.sigtimedwait(ends, 0.001) is None:
        celsius += 1
        try:
            readings.publish(plant_pb2.Reading(celsius=celsius))
        except mycelium.MyceliumError as error:
            print(f"not sent: {error}", file=sys.stderr)
    # From here on nothing is published.
    print(f"stopping after {celsius}", flush=True)
    try:
        bus.flush(timeout=10.0)
    finally:
        bus.close(timeout=5.0)
        stats = bus.stats()
        print("lost:", stats["dropped"] + stats["in_flight"])
# [/run]


# [receive]
def receive(topology, handle):
    # Ends each call that waits, within 50 ms, and is an exception here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with mycelium.MessageBus.from_topology(topology, "watch") as bus:
        with bus.subscriber(plant_pb2.Reading) as readings:
            for reading in readings:
                handle(reading)
# [/receive]


def show(reading):
    print(reading.celsius, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], show)
    else:
        run(sys.argv[1])
