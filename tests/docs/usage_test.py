"""The programs of docs/python-bridge/USAGE.md and of the other guides."""

import asyncio
import contextlib
import io
import os
import subprocess
import tempfile
import threading
import unittest

import mycelium
import numpy
from mycelium_native import Runtime
from tests.docs.plant_pb2 import Reading

PLANT = "tests/docs/plant.toml"
ISSUE_CERTIFICATES = "tests/support/issue_certificates"
LONG = 10.0


def explain(path):
    # [topology]
    topology = mycelium.Topology.load(path)
    info = topology.connection_info("watch", from_service="sampler")
    print(info["transport"], info["address"], info["rule"])
    print(topology.explain("sampler", "watch"))
    # [/topology]
    return info["transport"]


def publish_all(readings):
    # [publish]
    try:
        readings.publish(Reading(sensor="boiler", celsius=81.5))
    except mycelium.Unavailable:
        pass  # The service is not there. Nobody got it; it may be repeated.
    except mycelium.ResourceExhausted:
        pass  # A subscriber is too slow, and said not to drop for it.
    # [/publish]


def hottest(readings, count):
    # [iterate]
    hottest = None
    for reading in readings:  # Until the bus is closed.
        if hottest is None or reading.celsius > hottest.celsius:
            hottest = reading
        count -= 1
        if count == 0:
            return hottest
    # [/iterate]


def batch(readings):
    # [many]
    while True:
        batch = readings.recv_many(1000, timeout=1.0)
        if not batch:
            break
        print(sum(reading.celsius for reading in batch) / len(batch))
    # [/many]


async def relay(incoming, outgoing, count):
    # [async]
    async for reading in incoming:
        await outgoing.publish_async(reading)
        # [/async]
        count -= 1
        if count == 0:
            return


def watch(bus, alarms):
    # [callback]
    def on_reading(reading, info):
        if reading.celsius > 80:
            alarms.append((reading.sensor, info.publisher_service))

    subscription = bus.subscribe(Reading, on_reading, with_info=True)
    # [/callback]
    return subscription


def sample(topology):
    # [connection]
    def on_connection(event):
        print(event.peer, event.transport, event.state, event.error or "")

    def on_flow(event):
        print(event.kind, event.messages, event.reason or event.lane)

    bus = mycelium.MessageBus.from_topology(
        topology, "sampler", on_connection=on_connection, on_flow=on_flow
    )
    # [/connection]
    return bus


def send_image(bus):
    # [loan]
    images = bus.publisher(mycelium.RawType("image"))
    pixels = numpy.full((480, 640), 127, numpy.uint8)
    images.publish(pixels)  # Any contiguous array.

    with images.loan(pixels.nbytes) as loan:  # Or made where it is sent from.
        image = numpy.frombuffer(loan, numpy.uint8).reshape(480, 640)
        numpy.copyto(image, pixels)
        del image  # Nobody may have a view of a loan that is published.
        loan.publish()
    # [/loan]


def receive_image(bus):
    # [view]
    images = bus.subscriber(mycelium.RawType("image"), overflow="latest")
    payload = images.recv(timeout=10.0)
    image = numpy.frombuffer(payload, numpy.uint8)  # No copy, read-only.
    brightness = image.mean()
    del image  # The next recv() takes the memory back.
    # [/view]
    images.finish()
    return brightness


def pass_on(celsius, readings, transport, worker):
    got = worker.subscriber(Reading)
    readings.wait_for_subscribers(1, LONG)
    readings.publish(Reading(celsius=celsius))
    received = got.recv(LONG).celsius
    got.finish()
    transport.flush(LONG)
    sent, taken = transport.bus.stats(), worker.bus.stats()
    assert sent["accepted"] == taken["delivered"] == 1, (sent, taken)
    assert sent["dropped"] == sent["in_flight"] == 0, sent
    return received


def configure(path):
    # [settings]
    jobs = mycelium.UnixTransport(
        path,
        node="worker-1",
        settings=mycelium.Settings(retain=30.0, overflow="fail"),
        limits=mycelium.Limits(frame_bytes_max=1 << 16),
    )
    # [/settings]
    return jobs


def exchange(path, digest):
    # [listen]
    worker = mycelium.UnixTransport(path, schema_digest=digest).listen()
    # [/listen]
    # [connect]
    with mycelium.UnixTransport(path, schema_digest=digest).connect() as transport:
        readings = transport.publisher(Reading)
        # [/connect]
        celsius = pass_on(1, readings, transport, worker)
    worker.close()
    return celsius


def exchange_encrypted(folder, digest):
    subprocess.run([ISSUE_CERTIFICATES, folder, "localhost", "field"], check=True)
    host, port, ca = "localhost", 0, f"{folder}/ca.pem"
    certificate, key = f"{folder}/localhost.pem", f"{folder}/localhost.key"
    # [tcp-listen]
    tls = mycelium.Tls(certificate, key, ca)
    worker = mycelium.TcpTransport(host, port, digest, tls=tls).listen()
    # [/tcp-listen]
    port = worker.port
    certificate, key = f"{folder}/field.pem", f"{folder}/field.key"
    # [tcp]
    tls = mycelium.Tls(certificate, key, ca)
    with mycelium.TcpTransport(host, port, digest, tls=tls).connect() as transport:
        readings = transport.publisher(Reading)
        # [/tcp]
        celsius = pass_on(2, readings, transport, worker)
    worker.close()
    return celsius


def native():
    hot = []
    # [native]
    runtime = Runtime(service_name="alarms")
    subscription = runtime.subscribe(
        Reading, lambda reading: hot.append(reading.sensor)
    )

    runtime.publish(Reading(sensor="boiler"))  # Raises if nobody is subscribed.

    subscription.unsubscribe()  # Waits for a callback that is running.
    runtime.close()
    # [/native]
    return hot


def ledger(bus):
    # [ledger]
    for flow in bus.ledger():
        print(
            f"{flow['publisher_service']} -> {flow['subscriber_service']} "
            f"({flow['transport']}): accepted {flow['accepted']}, "
            f"delivered {flow['delivered']}, "
            f"dropped {sum(flow['dropped'].values())}"
        )
    # [/ledger]


class UsageTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="us-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.environ["XDG_RUNTIME_DIR"] = self.folder
        self.bus = mycelium.MessageBus()
        self.addCleanup(self.bus.close, 0)

    def balances(self):
        stats = self.bus.stats()
        self.assertEqual(stats["in_flight"], 0)
        self.assertEqual(
            stats["accepted"], stats["delivered"] + stats["dropped"]
        )
        ledger(self.bus)

    def test_topology(self):
        self.assertEqual(explain(PLANT), "shm")

    def test_publishing_to_nobody_is_expected(self):
        bus = mycelium.MessageBus.from_topology(PLANT, "sampler")
        self.addCleanup(bus.close, 0)
        publish_all(bus.publisher_to("watch", Reading))
        self.assertEqual(bus.stats()["accepted"], 0)

    def test_iterating(self):
        readings = self.bus.subscriber(Reading)
        publisher = self.bus.publisher(Reading)
        for celsius in (1, 5, 3):
            publisher.publish(Reading(celsius=celsius))
        self.assertEqual(hottest(readings, 3).celsius, 5)
        for celsius in (1, 5, 3):
            publisher.publish(Reading(celsius=celsius))
        batch(readings)
        readings.finish()
        self.balances()

    def test_event_loop(self):
        incoming = self.bus.subscriber(Reading, topic="in")
        outgoing = self.bus.publisher(Reading, topic="out")
        relayed = self.bus.subscriber(Reading, topic="out")
        publisher = self.bus.publisher(Reading, topic="in")

        async def run():
            relaying = asyncio.ensure_future(relay(incoming, outgoing, 10))
            for celsius in range(10):
                await publisher.publish_async(Reading(celsius=celsius))
            await asyncio.wait_for(relaying, LONG)

        asyncio.run(run())
        got = [reading.celsius for reading in relayed.recv_many(100)]
        self.assertEqual(got, list(range(10)))
        relayed.finish()
        incoming.finish()
        self.balances()

    def test_callback(self):
        alarms = []
        with watch(self.bus, alarms):
            publisher = self.bus.publisher(Reading)
            publisher.publish(Reading(sensor="boiler", celsius=81))
            publisher.publish(Reading(sensor="pipe", celsius=20))
        self.assertEqual(alarms, [("boiler", self.bus.service)])
        self.balances()

    def test_links_and_drops(self):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            sampler = sample(PLANT)
            self.addCleanup(sampler.close, 0)
            with mycelium.MessageBus.from_topology(PLANT, "watch"):
                sampler.wait_for_link(LONG)
            sampler.close()
        self.assertIn("control shm connected", told.getvalue())
        self.assertEqual(sampler.callback_errors, 0)

    def test_images(self):
        seen = []
        receiving = threading.Thread(
            target=lambda: seen.append(receive_image(self.bus))
        )
        waiting = self.bus.publisher(mycelium.RawType("image"))
        receiving.start()
        waiting.wait_for_subscribers(1, LONG)
        send_image(self.bus)
        receiving.join()
        self.assertEqual(seen, [127])
        self.balances()

    def test_transport(self):
        path = os.path.join(self.folder, "s")
        self.assertEqual(exchange(path, bytes([1]) * 32), 1)

    def test_settings(self):
        with configure(os.path.join(self.folder, "s")).listen() as jobs:
            self.assertEqual(jobs.bus.node, "worker-1")
            with self.assertRaises(mycelium.InvalidArgument):
                jobs.publisher(mycelium.RawType("job")).loan(1 << 16)

    def test_transport_between_machines(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(exchange_encrypted(folder, bytes([1]) * 32), 2)

    def test_native(self):
        self.assertEqual(native(), ["boiler"])


if __name__ == "__main__":
    unittest.main()
