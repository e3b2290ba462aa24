"""How fast the Python package is, with floors from the same minute.

    bazel run -c opt //tests/benchmark:bench_python -- --rounds=3

Each row is measured in rounds that take turns with all the others. A floor is
what Python allows without Mycelium: an empty pybind11 call, an asyncio reader of a
bare eventfd, a raw Unix socket.
"""

import argparse
import asyncio
import collections
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import _mycelium
import mycelium
from tests.testdata.test_messages_pb2 import Note

LONG = 60.0
RAW = mycelium.RawType('bench')
PAYLOAD = bytes(64)
CC_PEER = os.path.join(
    os.path.dirname(__file__), '..', '..', 'interop', 'cc_peer')
# Calls that are timed together: the clock costs as much as some of them.
BATCH = 32


def percentile(values, part):
  return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def timed_calls(call, count):
  """Nanoseconds for each call, as the mean of small batches."""
  clock = time.perf_counter_ns
  batch = range(BATCH)
  samples = []
  for _ in range(max(1, count // BATCH)):
    begin = clock()
    for _ in batch:
      call()
    samples.append((clock() - begin) / BATCH)
  return samples


class Bench:
  """The rows, each a function that returns nanoseconds."""

  def __init__(self, count):
    self.count = count
    self.folder = tempfile.TemporaryDirectory(prefix='bp-', dir='/tmp')

  # Calls

  def floor_empty_call(self):
    return timed_calls(_mycelium.forked, self.count)

  def _publish(self, message_cls, message):
    """To a subscriber that keeps the latest: no publish waits for anything."""
    with mycelium.MessageBus() as bus:
      subscriber = bus.subscriber(message_cls, overflow='latest')
      publisher = bus.publisher(message_cls)
      samples = timed_calls(lambda: publisher.publish(message), self.count)
      subscriber.recv_many(self.count)
      subscriber.finish()
    return samples

  def publish_raw(self):
    return self._publish(RAW, PAYLOAD)

  def publish_protobuf(self):
    return self._publish(Note, Note(id=1, text='a small one'))

  # Receiving many

  def _receive_many(self, message_cls):
    """Nanoseconds for each message of a C++ publisher, over a socket."""
    path = os.path.join(self.folder.name, 'many')
    with mycelium.MessageBus() as bus:
      notes = bus.subscriber(message_cls)
      bus.listen_unix(path)
      with subprocess.Popen(
          [CC_PEER, 'publish', 'unix', path, '00' * 32, str(self.count), '0'],
          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as peer:
        received = len(notes.recv_many(1, LONG))
        begin = time.perf_counter_ns()
        while received < self.count:
          received += len(notes.recv_many(1024, LONG))
        took = time.perf_counter_ns() - begin
        notes.finish()
        peer.stdin.close()
    return [took / received]

  def recv_many_raw(self):
    return self._receive_many(
        mycelium.RawType('mycelium.test.Note', mycelium.digest(Note)))

  def recv_many_protobuf(self):
    return self._receive_many(Note)

  # Event loops: one-way, from a thread that goes on once it is answered.

  def _one_way(self, send, receive):
    turn = threading.Semaphore(0)
    count = max(10, self.count // 100)
    samples = []

    def write():
      for _ in range(count):
        send(time.perf_counter_ns())
        turn.acquire()

    async def read():
      writer = threading.Thread(target=write)
      writer.start()
      for _ in range(count):
        sent = await receive()
        samples.append(time.perf_counter_ns() - sent)
        turn.release()
      writer.join()

    asyncio.run(asyncio.wait_for(read(), LONG))
    return samples

  def floor_eventfd(self):
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    sent = collections.deque()

    def send(now):
      sent.append(now)
      os.eventfd_write(descriptor, 1)

    async def receive():
      loop = asyncio.get_running_loop()
      future = loop.create_future()
      loop.add_reader(descriptor, future.set_result, None)
      await future
      loop.remove_reader(descriptor)
      os.eventfd_read(descriptor)
      return sent.popleft()

    try:
      return self._one_way(send, receive)
    finally:
      os.close(descriptor)

  def recv_async(self):
    with mycelium.MessageBus() as bus:
      subscriber = bus.subscriber(RAW)
      publisher = bus.publisher(RAW)

      async def receive():
        payload = await subscriber.recv_async()
        return int.from_bytes(bytes(payload), 'little')

      samples = self._one_way(
          lambda now: publisher.publish(now.to_bytes(8, 'little')), receive)
      subscriber.finish()
    return samples

  # There and back, between two processes

  def _ping_pong(self, ping):
    count = max(10, self.count // 20)
    samples = []
    for _ in range(count):
      begin = time.perf_counter_ns()
      ping()
      samples.append(time.perf_counter_ns() - begin)
    return samples

  def floor_unix_socket(self):
    path = os.path.join(self.folder.name, 'raw')
    with socket.socket(socket.AF_UNIX) as listening:
      listening.bind(path)
      listening.listen()
      process = multiprocessing.get_context('spawn').Process(
          target=echo_socket, args=(path,))
      process.start()
      connection, _ = listening.accept()
    with connection:
      connection.sendall(PAYLOAD)
      connection.recv(len(PAYLOAD))

      def ping():
        connection.sendall(PAYLOAD)
        connection.recv(len(PAYLOAD))

      samples = self._ping_pong(ping)
    process.join(LONG)
    os.unlink(path)
    return samples

  def ping_pong_unix(self):
    path = os.path.join(self.folder.name, 'pong')
    with mycelium.UnixTransport(path).listen() as transport:
      pongs = transport.subscriber(RAW, topic='pong')
      pings = transport.publisher(RAW, topic='ping')
      process = multiprocessing.get_context('spawn').Process(
          target=echo_mycelium, args=(path,))
      process.start()
      pings.wait_for_subscribers(1, LONG)
      pings.publish(PAYLOAD)
      pongs.recv(LONG)

      def ping():
        pings.publish(PAYLOAD)
        pongs.recv(LONG)

      samples = self._ping_pong(ping)
      pings.publish(b'')
      pongs.finish()
      transport.flush(LONG)
    process.join(LONG)
    return samples


def echo_socket(path):
  with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    while True:
      data = connection.recv(len(PAYLOAD))
      if not data:
        return
      connection.sendall(data)


def echo_mycelium(path):
  with mycelium.UnixTransport(path).connect() as transport:
    pings = transport.subscriber(RAW, topic='ping')
    pongs = transport.publisher(RAW, topic='pong')
    pongs.wait_for_subscribers(1, LONG)
    while True:
      data = bytes(pings.recv(LONG))
      if not data:
        pings.finish()
        return
      pongs.publish(data)


# Row, what it is compared with.
ROWS = [
    ('floor_empty_call', None),
    ('publish_raw', 'floor_empty_call'),
    ('publish_protobuf', 'floor_empty_call'),
    ('recv_many_raw', None),
    ('recv_many_protobuf', None),
    ('floor_eventfd', None),
    ('recv_async', 'floor_eventfd'),
    ('floor_unix_socket', None),
    ('ping_pong_unix', 'floor_unix_socket'),
]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--count', type=int, default=100000,
                      help='calls in each round of a row')
  arguments = parser.parse_args()
  bench = Bench(arguments.count)
  samples = {row: [] for row, _ in ROWS}
  for _ in range(arguments.rounds):
    for row, _ in ROWS:
      samples[row] += getattr(bench, row)()
  print(f'{"row":<20} {"p50 ns":>10} {"p99 ns":>10} {"max ns":>11}  floor')
  for row, floor in ROWS:
    values = samples[row]
    middle = statistics.median(values)
    note = ''
    if floor is not None:
      lowest = statistics.median(samples[floor])
      note = f'{floor} {lowest:.0f} ns, ratio {middle / lowest:.2f}'
    elif row.startswith('recv_many'):
      note = f'{1e3 / middle:.2f} M messages/s'
    print(f'{row:<20} {middle:>10.0f} {percentile(values, 0.99):>10.0f} '
          f'{max(values):>11.0f}  {note}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
