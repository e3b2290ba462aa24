"""A client with plain grpcio and the .proto files talks to a real node.

It has nothing else of Mycelium: what it knows is in the comments of link.proto
and what that imports. Where these and the node part ways, a test here fails.
"""

import hashlib
import queue
import subprocess
import time
import unittest

import grpc

from proto.mycelium.v1 import control_pb2
from proto.mycelium.v1 import handshake_pb2
from proto.mycelium.v1 import link_pb2
from tests.docs import plant_pb2

_PEER = "tests/docs/wire_peer"
_TIMEOUT = 20  # Seconds; no test takes so long, unless it is about to fail.

# docs/schema.md: the digest of a type is the SHA-256 of its canonical text.
_READING_DIGEST = hashlib.sha256(
    b"mycelium.schema 1\n"
    b"root plant.Reading\n"
    b"message plant.Reading\n"
    b"  1 sensor optional string presence=implicit\n"
    b"  2 celsius optional double presence=implicit\n"
).digest()

# So long that a reading takes twice 64 bytes in a lane: 64 is a place within.
_SENSOR = "boiler on the second floor"

_SUBSCRIPTION = 77  # Our own number for what we subscribe to.
_PUBLISHER = 5  # And for what we publish.


def _size_in_lane(envelope):
    """The formula of link.proto."""
    size = 40 + len(envelope.payload)
    if envelope.HasField("publish_time_unix_ns"):
        size += 8
    if envelope.HasField("extension"):
        size += (envelope.extension.ByteSize() + 7) // 8 * 8
    return (size + 63) // 64 * 64


class Client:
    """One stream. Keeps what arrives: controls, envelopes, acks."""

    def __init__(self, channel):
        self._outgoing = queue.Queue()
        connect = channel.stream_stream(
            "/mycelium.v1.Link/Connect",
            request_serializer=link_pb2.LinkMessage.SerializeToString,
            response_deserializer=link_pb2.LinkMessage.FromString,
        )
        self.call = connect(iter(self._outgoing.get, None), timeout=_TIMEOUT)
        self.controls = []
        self.envelopes = []  # With lane, lane sequence and end.
        self.acks = {}

    def close(self):
        self._outgoing.put(None)

    def send(self, *items):
        self._outgoing.put(link_pb2.LinkMessage(items=items))

    def send_control(self, **body):
        self.send(link_pb2.LinkItem(control=control_pb2.Control(**body)))

    def read(self):
        """Reads one message; False once the other side has ended."""
        try:
            message = next(self.call)
        except (StopIteration, grpc.RpcError):
            return False
        for item in message.items:
            if item.HasField("control"):
                self.controls.append(item.control)
            elif item.HasField("ack"):
                self.acks[item.ack.lane] = (item.ack.received, item.ack.handled)
            elif item.HasField("batch"):
                self._read_batch(item.batch)
        return True

    def until(self, ready):
        """Reads until `ready` returns something true; returns that."""
        while not ready():
            assert self.read(), f"the node ended: {self.call.details()}"
        return ready()

    def control(self, name):
        """The first control message of that kind that is or comes in."""
        def find():
            for control in self.controls:
                if control.WhichOneof("body") == name:
                    return control
            return None
        return getattr(self.until(find), name)

    def _read_batch(self, batch):
        position = batch.position
        sequence = batch.sequence
        for envelope in batch.envelopes:
            sequence += envelope.skipped
            position += _size_in_lane(envelope)
            self.envelopes.append((batch.lane, sequence, position, envelope))
            sequence += 1


class GrpcClientTest(unittest.TestCase):

    def setUp(self):
        self.others = 0
        self.node = subprocess.Popen(
            # port: 0, which the kernel replaces
            [_PEER, "grpc", "127.0.0.1:0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.addCleanup(self.node.wait)
        self.addCleanup(self.node.kill)
        self.addCleanup(self.node.stdout.close)
        self.addCleanup(self.node.stdin.close)
        word, address = self.node.stdout.readline().split()
        self.assertEqual(word, "ready")
        self.channel = grpc.insecure_channel(address)
        self.addCleanup(self.channel.close)

    def dial(self):
        client = Client(self.channel)
        self.addCleanup(client.close)
        return client

    def greet(self, incarnation=99, **resume):
        """A stream on which both have said Hello."""
        client = self.dial()
        client.send_control(hello={
            "protocol_version": 2, "node": "stranger",
            "incarnation": incarnation, "frame_bytes_max": 1 << 20, **resume,
        })
        client.hello = client.control("hello")
        return client

    def greet_when_free(self, *arguments, **resume):
        """The same, once the node has noticed that the last stream has ended."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.greet(*arguments, **resume)
            except AssertionError:  # Its name is taken.
                if time.monotonic() > deadline:
                    raise

    def subscribe_to_echo(self, client, digest=_READING_DIGEST):
        client.send_control(subscribe={
            "subscription": _SUBSCRIPTION, "service": "stranger",
            "topic": "echo", "type": "plant.Reading", "type_digest": digest,
            "delivery": control_pb2.Subscribe.QUEUED,
        })
        client.send_control(subscribers_known={})

    def publish(self, client, *degrees, sequence=1):
        """Publishes to whoever subscribed; returns the end of the last."""
        theirs = client.control("subscribe")
        self.assertEqual(theirs.topic, "plant.Reading")
        self.assertEqual(theirs.type_digest, _READING_DIGEST)
        client.send_control(publisher={
            "publisher": _PUBLISHER, "service": "stranger",
            "topic": "plant.Reading", "type": "plant.Reading",
            "type_digest": _READING_DIGEST,
        })
        client.send_control(matched={
            "publisher": _PUBLISHER, "subscription": theirs.subscription,
            "lane": 0, "from_sequence": 1,
        })
        client.send_control(lane_open={
            "lane": 0, "position": 0, "next_sequence": 1,
            "capacity_bytes": 65536,
        })
        batch = link_pb2.EnvelopeBatch(lane=0, position=0, sequence=sequence)
        end = 0
        for number, celsius in enumerate(degrees, start=1):
            reading = plant_pb2.Reading(sensor=_SENSOR, celsius=celsius)
            envelope = batch.envelopes.add(
                publisher=_PUBLISHER,
                publisher_sequence=number,
                type_digest_prefix=int.from_bytes(
                    _READING_DIGEST[:8], "little"
                ),
                publish_time_unix_ns=number,
                payload=reading.SerializeToString(),
            )
            end += _size_in_lane(envelope)
        client.send(link_pb2.LinkItem(batch=batch))
        return end

    def assert_ended(self, client, code=grpc.StatusCode.OK):
        """The node ends the stream, and goes on without it."""
        while client.read():
            continue
        self.assertEqual(client.call.code(), code)
        self.others += 1
        self.greet(node=f"other-{self.others}")

    def finish(self):
        """Ends the node, which nothing may have crashed; what it counted."""
        counts, _ = self.node.communicate(timeout=_TIMEOUT)
        self.assertEqual(self.node.returncode, 0)
        return counts.strip()

    def tearDown(self):
        if self.node.returncode is None:
            self.assertRegex(self.finish(), "^accepted .* dropped")

    def test_messages_travel_both_ways(self):
        client = self.greet()
        self.assertEqual(client.hello.node, "echo-node")
        self.subscribe_to_echo(client)
        end = self.publish(client, 20, 30, 40)
        client.until(lambda: len(client.envelopes) == 3)
        lanes, sequences, ends, envelopes = zip(*client.envelopes)
        readings = [
            plant_pb2.Reading.FromString(envelope.payload)
            for envelope in envelopes
        ]
        self.assertEqual([r.celsius for r in readings], [21, 31, 41])
        self.assertEqual(sequences, (1, 2, 3))
        self.assertEqual(client.control("matched").subscription, _SUBSCRIPTION)
        opened = client.control("lane_open")
        self.assertEqual(opened.subscription, _SUBSCRIPTION)
        self.assertEqual(set(lanes), {opened.lane})
        declared = client.control("publisher")
        for number, envelope in enumerate(envelopes, start=1):
            self.assertEqual(envelope.publisher, declared.publisher)
            self.assertEqual(envelope.publisher_sequence, number)
            self.assertEqual(
                envelope.type_digest_prefix.to_bytes(8, "little"),
                _READING_DIGEST[:8],
            )
        client.until(lambda: client.acks.get(0) == (end, end))
        client.send(link_pb2.LinkItem(ack={
            "lane": opened.lane, "received": ends[-1], "handled": ends[-1],
        }))
        client.send_control(unsubscribe={"subscription": _SUBSCRIPTION})
        # It was handled, so nothing keeps the lane.
        self.assertEqual(client.control("lane_closed").lane, opened.lane)
        self.assertEqual(self.finish(), "accepted 3, delivered 3, dropped 0")

    def test_lane_goes_on_where_the_last_connection_ended(self):
        first = self.greet()
        self.subscribe_to_echo(first)
        end = self.publish(first, 20, 30)
        first.until(lambda: len(first.envelopes) == 2)
        first.until(lambda: first.acks.get(0) == (end, end))
        first.call.cancel()
        lane, _, seen, _ = first.envelopes[0]
        progress = {"lane": lane, "received": seen, "handled": seen}
        second = self.greet(
            resume_incarnation=first.hello.incarnation, resume=[progress]
        )
        self.subscribe_to_echo(second)
        self.assertEqual(second.hello.resume_incarnation, 99)
        self.assertEqual(second.hello.resume[0].received, end)
        _, sequence, _, envelope = second.until(lambda: second.envelopes)[0]
        self.assertEqual(sequence, 2)
        reading = plant_pb2.Reading.FromString(envelope.payload)
        self.assertEqual(reading.celsius, 31)

    def echoed(self, node):
        """A client to which three readings have come back."""
        client = self.greet(node=node)
        self.subscribe_to_echo(client)
        end = self.publish(client, 20, 30, 40)
        client.until(lambda: len(client.envelopes) == 3)
        client.until(lambda: client.acks.get(0) == (end, end))
        return client

    def sequences_after(self, first, node, incarnation, **progress):
        """What comes on the next connection of `first`."""
        second = self.greet_when_free(
            incarnation, node=node,
            resume_incarnation=first.hello.incarnation,
            resume=[{"lane": first.envelopes[0][0], **progress}],
        )
        self.subscribe_to_echo(second)
        second.until(lambda: second.envelopes and second.envelopes[-1][1] == 3)
        return [sequence for _, sequence, _, _ in second.envelopes]

    def test_resume_within_a_frame_goes_on_behind_it(self):
        for received, expected in [
            (4, [2, 3]), (64, [2, 3]), (100, [2, 3]),
            (1 << 40, [1, 2, 3]), (2**64 - 1, [1, 2, 3]),
        ]:
            with self.subTest(received=received):
                node = f"resumer-{received}"
                first = self.echoed(node)
                first.call.cancel()
                self.assertEqual(
                    self.sequences_after(first, node, 99, received=received),
                    expected,
                )

    def test_next_process_starts_with_a_whole_frame(self):
        node = "half-done"
        first = self.echoed(node)
        first.send(link_pb2.LinkItem(ack={
            "lane": first.envelopes[0][0], "received": 64, "handled": 64,
        }))
        # What is refused tells that what was sent before it was read.
        first.send_control(subscribe={
            "subscription": _SUBSCRIPTION + 1, "service": "stranger",
            "topic": "echo", "type": "plant.Reading", "type_digest": bytes(32),
        })
        first.control("subscribe_refused")
        first.call.cancel()
        self.assertEqual(self.sequences_after(first, node, 100), [2, 3])

    def test_acknowledgement_that_cannot_be_ends_the_connection(self):
        end = 3 * 128
        for received, handled in [
            (1 << 40, 0), (2**64 - 1, 2**64 - 1), (0, 64), (end, 8),
        ]:
            with self.subTest(received=received, handled=handled):
                client = self.echoed(f"liar-{received}-{handled}")
                client.send(link_pb2.LinkItem(ack={
                    "lane": client.envelopes[0][0],
                    "received": received, "handled": handled,
                }))
                self.assert_ended(client)

    def test_other_digest_is_refused_with_the_reason(self):
        client = self.greet()
        self.subscribe_to_echo(client, digest=bytes(32))
        refused = client.control("subscribe_refused")
        self.assertEqual(refused.subscription, _SUBSCRIPTION)
        self.assertEqual(refused.type_digest, _READING_DIGEST)
        text = refused.canonical_text.encode()
        self.assertEqual(hashlib.sha256(text).digest(), _READING_DIGEST)
        # The link goes on.
        end = self.publish(client, 20)
        client.until(lambda: client.acks.get(0) == (end, end))

    def test_other_protocol_version_is_rejected(self):
        client = self.dial()
        client.send_control(
            hello={"protocol_version": 1, "node": "s", "incarnation": 1}
        )
        reject = client.control("reject")
        self.assertEqual(
            reject.reason, handshake_pb2.Reject.PROTOCOL_VERSION
        )
        self.assert_ended(client)

    def test_goodbye_ends_the_link_in_good_order(self):
        client = self.greet()
        end = self.publish(client, 20)
        client.send_control(goodbye={})
        client.until(lambda: any(
            control.goodbye.final for control in client.controls
        ))
        self.assertEqual(client.acks.get(0), (end, end))
        client.send_control(goodbye={"final": True})
        self.assert_ended(client)

    def test_gap_in_the_sequence_ends_the_connection(self):
        client = self.greet()
        self.publish(client, 20, sequence=2)
        self.assert_ended(client)

    def test_data_of_a_lane_that_is_not_open_ends_the_connection(self):
        client = self.greet()
        batch = link_pb2.EnvelopeBatch(lane=3)
        batch.envelopes.add(publisher=_PUBLISHER)
        client.send(link_pb2.LinkItem(batch=batch))
        self.assert_ended(client)

    def test_first_message_that_is_too_large_ends_the_connection(self):
        client = self.dial()
        client.send_control(hello={
            "protocol_version": 2, "node": "s" * 70_000, "incarnation": 1,
        })
        self.assert_ended(client, grpc.StatusCode.CANCELLED)
        self.assertEqual(client.controls, [])

    def test_health_is_told_by_the_standard_service(self):
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        # HealthCheckRequest{service}: field 1. The answer's status 1: SERVING.
        for service in [b"", b"mycelium.v1.Link"]:
            request = b"\x0a" + bytes([len(service)]) + service
            self.assertEqual(check(request, timeout=_TIMEOUT), b"\x08\x01")
        with self.assertRaises(grpc.RpcError) as unknown:
            check(b"\x0a\x01x", timeout=_TIMEOUT)
        self.assertEqual(
            unknown.exception.code(), grpc.StatusCode.NOT_FOUND
        )

    def test_reflection_lists_the_link_and_its_descriptor(self):
        info = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        # list_services: field 7. file_containing_symbol: field 4.
        symbol = b"mycelium.v1.Link"
        requests = [b"\x3a\x00", b"\x22" + bytes([len(symbol)]) + symbol]
        answers = list(info(iter(requests), timeout=_TIMEOUT))
        self.assertEqual(len(answers), 2)
        self.assertIn(symbol, answers[0])
        self.assertIn(b"grpc.health.v1.Health", answers[0])
        self.assertIn(b"proto/mycelium/v1/link.proto", answers[1])
        self.assertIn(b"EnvelopeBatch", answers[1])


if __name__ == "__main__":
    unittest.main()
