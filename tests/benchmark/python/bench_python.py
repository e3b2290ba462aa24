"""How fast the Python package is, with floors from the same minute.

    bazel run -c opt //tests/benchmark:bench_python -- --rounds=3

Each row is measured in rounds that take turns with all the others. A floor is
what Python allows without Mycelium: an empty pybind11 call, an asyncio reader of
a bare eventfd, a raw Unix socket; or, as `cc_…`, what C++ does with it. Messages
have the size that those of C++ have, and this process and the one at the other
end a CPU each, as there.
"""

import argparse
import asyncio
import collections
import contextlib
import json
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
# As C++ has it: its id and the tags take the rest of about 64 bytes.
NOTE = Note(id=1, blob=b'x' * 56)
FLOOD = os.path.join(os.path.dirname(__file__), 'flood')
CC_TRIES = 30
CC_BENCH = os.path.join(os.path.dirname(__file__), '..', 'bench')
# Ping-pongs: the transport, and how the two sides wait. Sides that spin or
# block have no thread besides the caller's: there are two CPUs, and a raw
# socket has no other thread either.
PING_PONGS = {
    'ping_pong_unix': ('unix', {}),
    'ping_pong_unix_block': ('unix', {'wait': 'block', 'poll_by_caller': True}),
    'ping_pong_shm': ('shm', {'wait': 'spin', 'poll_by_caller': True}),
}
# Calls that are timed together, since reading the clock costs as much as some
# calls.
BATCH = 32
# Rows whose samples are means of such batches, or of a run. Means hide the slow
# calls, so these rows have no p99.
OF_MEANS = ('floor_empty_call', 'publish_', 'recv_many_', 'cc_')


@contextlib.contextmanager
def pinned(cpu):
  """Pins this thread, and threads and processes that it starts, to `cpu`."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {cpu})
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def percentile(values, part):
  return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def timed_calls(call, count, between=lambda: None):
  """Nanoseconds for each call, as the mean of small batches.

  `between` is called after each batch, and not timed.
  """
  clock = time.perf_counter_ns
  batch = range(BATCH)
  samples = []
  for _ in range(max(1, count // BATCH)):
    begin = clock()
    for _ in batch:
      call()
    samples.append((clock() - begin) / BATCH)
    between()
  return samples


class Bench:
  """The rows, each a function that returns nanoseconds."""

  def __init__(self, count):
    self.count = count
    cpus = sorted(os.sched_getaffinity(0))
    self.cpus = cpus[0], cpus[min(1, len(cpus) - 1)]
    self.folder = tempfile.TemporaryDirectory(prefix='bp-', dir='/tmp')

  def measure(self, row):
    """A row's nanoseconds, on the first CPU."""
    if row.startswith('cc_'):  # That run pins itself, and needs both.
      return getattr(self, row)()
    with pinned(self.cpus[0]):
      return getattr(self, row)()

  # C++, from the run that measures it alone.

  def _cc(self, transport, mode, kind, variant):
    path = os.path.join(self.folder.name, 'cc.json')
    figure = 'msgs_per_s' if mode == 'flood' else 'p50_ns'
    # If the machine changed during a round, the round has no figure, and the
    # status is 1.
    for _ in range(CC_TRIES):
      ended = subprocess.run(
          [CC_BENCH, f'--transports={transport}', f'--modes={mode}',
           f'--kinds={kind}', f'--variants={variant}', '--wait=spin',
           '--sizes=64', '--rounds=1', f'--run_ms={max(1, self.count // 2000)}',
           '--keep_disturbed', f'--json={path}'],
          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8',
          check=False)
      if ended.returncode not in (0, 1):
        raise RuntimeError(ended.stdout)
      with open(path, encoding='utf-8') as file:
        report = json.load(file)
      if report['machine']['errors']:
        raise RuntimeError(ended.stdout)
      for row in report['rows'] + report['machine']['other_class_rows']:
        if row['system'] == 'floor' or row[figure] is None:
          continue
        return [1e9 / row[figure] if mode == 'flood' else row[figure]]
    raise RuntimeError(f'{CC_BENCH}: no round of {transport} {mode} {kind} '
                       f'counted, of {CC_TRIES}; is the machine busy?')

  def cc_publish_raw(self):
    """With an inline handler."""
    return self._cc('inproc', 'flood', 'raw', 'inline')

  def cc_publish_protobuf(self):
    return self._cc('inproc', 'flood', 'protobuf', 'inline')

  # One publisher and one subscriber as fast as they may.

  def cc_flood_raw(self):
    return self._cc('shm', 'flood', 'raw', 'caller')

  def cc_flood_protobuf(self):
    return self._cc('shm', 'flood', 'protobuf', 'caller')

  def cc_ping_pong_shm(self):
    """There and back, which is two samples of that run."""
    one_way = self._cc('shm', 'latency', 'raw', 'caller')
    return [2 * sample for sample in one_way]

  # Calls

  def floor_empty_call(self):
    return timed_calls(_mycelium.forked, self.count)

  def _publish(self, message_cls, message):
    """To a subscriber that always has room, so that no publish waits."""
    with mycelium.MessageBus() as bus:
      subscriber = bus.subscriber(message_cls)
      publisher = bus.publisher(message_cls)
      samples = timed_calls(
          lambda: publisher.publish(message), self.count,
          between=lambda: subscriber.recv_many(BATCH))
      subscriber.finish()
    return samples

  def publish_raw(self):
    return self._publish(RAW, PAYLOAD)

  def publish_protobuf(self):
    return self._publish(Note, NOTE)

  # Receiving many

  def _receive_many(self, message_cls, kind):
    """Nanoseconds for each message of a C++ publisher."""
    path = os.path.join(self.folder.name, 'many')
    # The publisher has its thread, so that two CPUs are taken.
    with mycelium.MessageBus(poll_by_caller=True) as bus:
      messages = bus.subscriber(message_cls)
      bus.listen_shm(path)
      with pinned(self.cpus[1]):
        flood = subprocess.Popen([FLOOD, path, kind, str(self.count)])
      with flood:
        received = begun = len(messages.recv_many(1, LONG))
        begin = time.perf_counter_ns()
        while received < self.count:
          received += len(messages.recv_many(1024, LONG))
        took = time.perf_counter_ns() - begin
        messages.finish()
        while flood.poll() is None:  # It waits until all is handled.
          bus.poll(0.01)
    return [took / (received - begun)]

  def recv_many_raw(self):
    return self._receive_many(RAW, 'raw')

  def recv_many_protobuf(self):
    return self._receive_many(Note, 'protobuf')

  # Event loops: one-way, from a thread that goes on once it is answered.

  def _one_way(self, send, receive):
    turn = threading.Semaphore(0)
    count = max(10, self.count // 100)
    samples = []

    def write():
      with pinned(self.cpus[1]):
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

  def async_for(self):
    with mycelium.MessageBus() as bus:
      subscriber = bus.subscriber(RAW)
      publisher = bus.publisher(RAW)

      stream = aiter(subscriber)

      async def receive():
        payload = await anext(stream)
        return int.from_bytes(bytes(payload), 'little')

      samples = self._one_way(
          lambda now: publisher.publish(now.to_bytes(8, 'little')), receive)
      subscriber.finish()
    return samples

  # There and back, between two processes

  def _start(self, target, *args):
    process = multiprocessing.get_context('spawn').Process(
        target=target, args=args)
    with pinned(self.cpus[1]):
      process.start()
    return process

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
      process = self._start(echo_socket, path)
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
    return self._ping_pong_of('ping_pong_unix')

  def ping_pong_unix_block(self):
    return self._ping_pong_of('ping_pong_unix_block')

  def ping_pong_shm(self):
    """Both sides spin."""
    return self._ping_pong_of('ping_pong_shm')

  def _ping_pong_of(self, row):
    transport, options = PING_PONGS[row]
    path = os.path.join(self.folder.name, row)
    with mycelium.MessageBus(delivers_locally=False, **options) as bus:
      getattr(bus, f'listen_{transport}')(path)
      pongs = bus.subscriber(RAW, topic='pong')
      pings = bus.publisher(RAW, topic='ping')
      process = self._start(echo_mycelium, path, row)
      pings.wait_for_subscribers(1, LONG)
      pings.publish(PAYLOAD)
      pongs.recv(LONG)

      def ping():
        pings.publish(PAYLOAD)
        pongs.recv(LONG)

      samples = self._ping_pong(ping)
      pings.publish(b'')
      pongs.finish()
      bus.flush(LONG)
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


def echo_mycelium(path, row):
  transport, options = PING_PONGS[row]
  with mycelium.MessageBus(delivers_locally=False, **options) as bus:
    getattr(bus, f'connect_{transport}')(path)
    pings = bus.subscriber(RAW, topic='ping')
    pongs = bus.publisher(RAW, topic='pong')
    pongs.wait_for_subscribers(1, LONG)
    while True:
      payload = pings.recv(LONG)
      if len(payload) == 0:
        pings.finish()
        return
      pongs.publish(payload)


# Row, what it is compared with.
ROWS = [
    ('floor_empty_call', None),
    ('cc_publish_raw', None),
    ('publish_raw', 'cc_publish_raw'),
    ('cc_publish_protobuf', None),
    ('publish_protobuf', 'cc_publish_protobuf'),
    ('cc_flood_raw', None),
    ('recv_many_raw', 'cc_flood_raw'),
    ('cc_flood_protobuf', None),
    ('recv_many_protobuf', 'cc_flood_protobuf'),
    ('floor_eventfd', None),
    ('async_for', 'floor_eventfd'),
    ('floor_unix_socket', None),
    ('ping_pong_unix', 'floor_unix_socket'),
    ('ping_pong_unix_block', 'floor_unix_socket'),
    ('cc_ping_pong_shm', 'floor_unix_socket'),
    ('ping_pong_shm', 'floor_unix_socket'),
]

# Row: the most nanoseconds that it should take, given the middle of its floor.
GOALS = {
    'publish_raw': lambda floor: 500,
    'publish_protobuf': lambda floor: 2000,
    'recv_many_raw': lambda floor: 1000,
    'recv_many_protobuf': lambda floor: 1e9 / 300e3,
    'async_for': lambda floor: floor + 20000,
    'ping_pong_shm': lambda floor: floor / 5,
}


def note_of(row, middle, floor, lowest):
  """The notes on a row besides its own times."""
  notes = []
  if row.startswith(('recv_many', 'cc_flood')):
    notes.append(f'{1e3 / middle:.2f} M messages/s')
  if floor is not None:
    notes.append(f'{floor} {lowest:.0f} ns, ratio {middle / lowest:.2f}')
  if row in GOALS:
    goal = GOALS[row](lowest)
    notes.append(
        f'goal {goal:.0f} ns: {"met" if middle <= goal else "missed"}')
  return '; '.join(notes)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--count', type=int, default=100000,
                      help='calls in each round of a row')
  parser.add_argument('--rows', default='',
                      help='those to measure, with commas between; all')
  arguments = parser.parse_args()
  wanted = arguments.rows.split(',') if arguments.rows else [
      row for row, _ in ROWS]
  floors = {floor for row, floor in ROWS if row in wanted}
  rows = [(row, floor) for row, floor in ROWS if row in wanted or row in floors]
  bench = Bench(arguments.count)
  samples = {row: [] for row, _ in rows}
  for _ in range(arguments.rounds):
    for row, _ in rows:
      samples[row] += bench.measure(row)
  print(f'{"row":<21} {"p50 ns":>10} {"p99 ns":>10} {"max ns":>11}  note')
  for row, floor in rows:
    values = samples[row]
    middle = statistics.median(values)
    lowest = None if floor is None else statistics.median(samples[floor])
    p99, most = '-', '-'
    if not row.startswith(OF_MEANS):
      p99, most = f'{percentile(values, 0.99):.0f}', f'{max(values):.0f}'
    print(f'{row:<21} {middle:>10.0f} {p99:>10} {most:>11}  '
          f'{note_of(row, middle, floor, lowest)}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
