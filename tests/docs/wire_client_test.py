"""A client made from docs/wire_format.md alone talks to a real node.

It has the .proto files and the numbers of that page. Where the page and the
node part ways, a test here fails.
"""

import hashlib
import os
import socket
import struct
import subprocess
import tempfile
import unittest

from proto.mycelium.v1 import control_pb2
from tests.docs import plant_pb2

_PEER = "tests/docs/wire_peer"
_TIMEOUT = 20  # Seconds; no test takes so long, unless it is about to fail.

_RECORD = struct.Struct("<HBBIQII")
_FRAME = struct.Struct("<IHHQQQII")
_ACK = struct.Struct("<IIQQ")
_MAGIC = 0x794D
_CONTROL, _DATA, _ACKS = 1, 2, 3

# docs/schema.md: the digest of a type is the SHA-256 of its canonical text.
_READING_DIGEST = hashlib.sha256(
    b"mycelium.schema 1\n"
    b"root plant.Reading\n"
    b"message plant.Reading\n"
    b"  1 sensor optional string presence=implicit\n"
    b"  2 celsius optional double presence=implicit\n"
).digest()

_SUBSCRIPTION = 77  # Our own number for what we subscribe to.
_PUBLISHER = 5  # And for what we publish.


def _padded(size):
    return (size + 63) // 64 * 64


class Frame:
    """One frame of a data record."""

    def __init__(self, lane, end, fields, payload):
        self.lane = lane
        self.end = end
        self.sequence = fields[3]
        self.digest_prefix = struct.pack("<Q", fields[4])
        self.publisher_sequence = fields[5]
        self.publisher = fields[6]
        self.reading = plant_pb2.Reading.FromString(payload)


class Client:
    """One connection. Keeps what arrives: controls, frames, acks."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.controls = []
        self.frames = []
        self.acks = {}

    def close(self):
        self.socket.close()

    def send_record(self, kind, body, lane=0, position=0):
        header = _RECORD.pack(_MAGIC, kind, 0, lane, position, len(body), 0)
        self.socket.sendall(header + body)

    def send(self, **body):
        control = control_pb2.Control(**body)
        self.send_record(_CONTROL, control.SerializeToString())

    def send_frame(self, position, sequence, reading):
        """Sends one frame on lane 0 and returns where it ends."""
        payload = reading.SerializeToString()
        size = _FRAME.size + len(payload)
        frame = _FRAME.pack(
            size, 0, 0, sequence,
            struct.unpack("<Q", _READING_DIGEST[:8])[0],
            sequence, _PUBLISHER, 0,
        ) + payload
        frame += bytes(_padded(size) - size)
        self.send_record(_DATA, frame, lane=0, position=position)
        return position + len(frame)

    def acknowledge(self, lane, position):
        self.send_record(_ACKS, _ACK.pack(lane, 0, position, position))

    def read_record(self):
        """Reads one record; False once the other side has closed."""
        header = self._read(_RECORD.size)
        if header is None:
            return False
        magic, kind, zero, lane, position, size, zero2 = _RECORD.unpack(header)
        assert (magic, zero, zero2) == (_MAGIC, 0, 0), header
        body = self._read(size)
        if kind == _CONTROL:
            self.controls.append(control_pb2.Control.FromString(body))
        elif kind == _ACKS:
            for number, _, received, handled in _ACK.iter_unpack(body):
                self.acks[number] = (received, handled)
        else:
            assert kind == _DATA, kind
            self._read_frames(lane, position, body)
        return True

    def until(self, ready):
        """Reads records until `ready` returns something true; returns that."""
        while not ready():
            assert self.read_record(), "the node closed the connection"
        return ready()

    def control(self, name):
        """The first control message of that kind that is or comes in."""
        def find():
            for control in self.controls:
                if control.WhichOneof("body") == name:
                    return control
            return None
        return getattr(self.until(find), name)

    def _read(self, size):
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data

    def _read_frames(self, lane, position, body):
        at = 0
        while at < len(body):
            fields = _FRAME.unpack_from(body, at)
            size, flags, extension = fields[:3]
            assert flags & ~4 == 0, flags
            start = at + _FRAME.size + (8 if flags & 4 else 0) + extension
            payload = body[start:at + size]
            at += _padded(size)
            self.frames.append(Frame(lane, position + at, fields, payload))


class WireClientTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(self.directory.cleanup)
        self.path = os.path.join(self.directory.name, "node.sock")
        self.node = subprocess.Popen(
            [_PEER, "unix", self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.addCleanup(self.node.wait)
        self.addCleanup(self.node.kill)
        self.addCleanup(self.node.stdout.close)
        self.addCleanup(self.node.stdin.close)
        self.assertEqual(self.node.stdout.readline(), f"ready {self.path}\n")

    def dial(self):
        client = Client(self.path)
        self.addCleanup(client.close)
        return client

    def greet(self, incarnation=99, **resume):
        """A connection on which both have said Hello."""
        client = self.dial()
        client.send(hello={
            "protocol_version": 2, "node": "stranger",
            "incarnation": incarnation, "frame_bytes_max": 1 << 20, **resume,
        })
        client.hello = client.control("hello")
        return client

    def subscribe_to_echo(self, client, digest=_READING_DIGEST):
        client.send(subscribe={
            "subscription": _SUBSCRIPTION, "service": "stranger",
            "topic": "echo", "type": "plant.Reading", "type_digest": digest,
            "delivery": control_pb2.Subscribe.QUEUED,
        })
        client.send(subscribers_known={})

    def publish(self, client, *degrees):
        """Publishes to whoever subscribed; returns the end of the last."""
        theirs = client.control("subscribe")
        self.assertEqual(theirs.topic, "plant.Reading")
        self.assertEqual(theirs.type_digest, _READING_DIGEST)
        client.send(publisher={
            "publisher": _PUBLISHER, "service": "stranger",
            "topic": "plant.Reading", "type": "plant.Reading",
            "type_digest": _READING_DIGEST,
        })
        client.send(matched={
            "publisher": _PUBLISHER, "subscription": theirs.subscription,
            "lane": 0, "from_sequence": 1,
        })
        client.send(lane_open={
            "lane": 0, "position": 0, "next_sequence": 1,
            "capacity_bytes": 65536,
        })
        end = 0
        for sequence, celsius in enumerate(degrees, start=1):
            reading = plant_pb2.Reading(sensor="boiler", celsius=celsius)
            end = client.send_frame(end, sequence, reading)
        return end

    def assert_closed(self, client):
        """The node ends the connection, and goes on without it."""
        while client.read_record():
            continue
        self.greet(node="other")

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
        client.until(lambda: len(client.frames) == 3)
        frames = client.frames
        self.assertEqual([f.reading.celsius for f in frames], [21, 31, 41])
        self.assertEqual([f.sequence for f in frames], [1, 2, 3])
        self.assertEqual([f.publisher_sequence for f in frames], [1, 2, 3])
        declared = client.control("publisher")
        matched = client.control("matched")
        self.assertEqual(matched.subscription, _SUBSCRIPTION)
        lane = client.control("lane_open")
        self.assertEqual(lane.subscription, _SUBSCRIPTION)
        for frame in frames:
            self.assertEqual(frame.lane, lane.lane)
            self.assertEqual(frame.publisher, declared.publisher)
            self.assertEqual(frame.digest_prefix, _READING_DIGEST[:8])
        client.until(lambda: client.acks.get(0) == (end, end))
        self.assertEqual(self.finish(), "accepted 3, delivered 3, dropped 0")

    def test_lane_closes_once_it_was_handled(self):
        client = self.greet()
        self.subscribe_to_echo(client)
        self.publish(client, 20)
        frame = client.until(lambda: client.frames)[0]
        client.send(unsubscribe={"subscription": _SUBSCRIPTION})
        self.assertEqual(client.control("unmatched").until_sequence, 2)
        client.acknowledge(frame.lane, frame.end)
        self.assertEqual(client.control("lane_closed").lane, frame.lane)

    def test_lane_goes_on_where_the_last_connection_ended(self):
        first = self.greet()
        self.subscribe_to_echo(first)
        end = self.publish(first, 20, 30)
        first.until(lambda: len(first.frames) == 2)
        first.until(lambda: first.acks.get(0) == (end, end))
        first.close()
        seen = first.frames[0]
        progress = {
            "lane": seen.lane, "received": seen.end, "handled": seen.end
        }
        second = self.greet(
            resume_incarnation=first.hello.incarnation, resume=[progress]
        )
        self.subscribe_to_echo(second)
        self.assertEqual(second.hello.resume_incarnation, 99)
        self.assertEqual(second.hello.resume[0].received, end)
        again = second.until(lambda: second.frames)[0]
        self.assertEqual((again.sequence, again.reading.celsius), (2, 31))
        opened = second.control("lane_open")
        self.assertEqual(opened.position, seen.end)
        self.assertEqual(opened.next_sequence, 2)

    def test_other_digest_is_refused_and_the_link_goes_on(self):
        client = self.greet()
        self.subscribe_to_echo(client, digest=bytes(32))
        refused = client.control("subscribe_refused")
        self.assertEqual(refused.type_digest, _READING_DIGEST)
        text = refused.canonical_text.encode()
        self.assertEqual(hashlib.sha256(text).digest(), _READING_DIGEST)
        end = self.publish(client, 20)
        client.until(lambda: client.acks.get(0) == (end, end))

    def test_ack_request_is_answered(self):
        client = self.greet()
        end = self.publish(client, 20)
        client.send(ack_request={})
        client.until(lambda: client.acks.get(0) == (end, end))

    def test_other_protocol_version_is_rejected(self):
        client = self.dial()
        client.send(
            hello={"protocol_version": 1, "node": "s", "incarnation": 1}
        )
        reject = client.control("reject")
        self.assertEqual(reject.reason, reject.PROTOCOL_VERSION)
        self.assert_closed(client)

    def test_wrong_magic_ends_the_connection(self):
        client = self.greet()
        client.socket.sendall(bytes(24))
        self.assert_closed(client)

    def test_gap_in_the_sequence_ends_the_connection(self):
        client = self.greet()
        end = self.publish(client, 20)
        client.send_frame(end, 3, plant_pb2.Reading())
        self.assert_closed(client)

    def test_data_of_a_lane_that_is_not_open_ends_the_connection(self):
        client = self.greet()
        client.send_frame(0, 1, plant_pb2.Reading())
        self.assert_closed(client)

    def test_acknowledgement_beyond_what_was_sent_ends_the_connection(self):
        client = self.greet()
        self.subscribe_to_echo(client)
        self.publish(client, 20)
        frame = client.until(lambda: client.frames)[0]
        client.acknowledge(frame.lane, frame.end + 8)
        self.assert_closed(client)


if __name__ == "__main__":
    unittest.main()
