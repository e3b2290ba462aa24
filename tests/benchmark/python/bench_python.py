"""How fast the Python package is, with floors from the same minute.

    bazel run -c opt //tests/benchmark:bench_python -- --rounds=3

Each row is measured in rounds that take turns with all the others, and compared
with its floors inside each round. A floor is what Python allows without Mycelium:
an empty pybind11 call, an asyncio reader of a bare eventfd, a raw Unix socket,
with sides that sleep or that spin; or, as `cc_…`, what C++ does with it. Messages
have the size that those of C++ have, and this process and the one at the other
end a CPU each, as there.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import math
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
TURN = 0.1  # How often a wait looks whether the other process is still there.
COUNT_MIN = 100
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
  """The nearest rank, as in C++: statistics.cc."""
  rank = math.ceil(part * len(values) - 1e-6)
  return sorted(values)[max(0, rank - 1)]


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
    # Of the rounds of each `cc_…` row: how far apart the CPUs were.
    self.classes = collections.defaultdict(set)

  def measure(self, row):
    """A row's nanoseconds, on the first CPU."""
    if row.startswith('cc_'):  # That run pins itself, and needs both.
      return getattr(self, row)()
    with pinned(self.cpus[0]):
      return getattr(self, row)()

  # C++, from the run that measures it alone.

  def _cc(self, name, transport, mode, kind, variant):
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
      of_class = report['machine']['floor_class']
      other_class = 'far' if of_class == 'near' else 'near'
      for class_name, rows in (
          (of_class, report['rows']),
          (other_class, report['machine']['other_class_rows'])):
        for row in rows:
          if row['system'] == 'floor' or row[figure] is None:
            continue
          self.classes[name].add(class_name)
          return [1e9 / row[figure] if mode == 'flood' else row[figure]]
    raise RuntimeError(f'{CC_BENCH}: no round of {transport} {mode} {kind} '
                       f'counted, of {CC_TRIES}; is the machine busy?')

  def cc_publish_raw(self):
    """With an inline handler."""
    return self._cc('cc_publish_raw', 'inproc', 'flood', 'raw', 'inline')

  def cc_publish_protobuf(self):
    return self._cc('cc_publish_protobuf', 'inproc', 'flood', 'protobuf', 'inline')

  # One publisher and one subscriber as fast as they may.

  def cc_flood_raw(self):
    return self._cc('cc_flood_raw', 'shm', 'flood', 'raw', 'caller')

  def cc_flood_protobuf(self):
    return self._cc('cc_flood_protobuf', 'shm', 'flood', 'protobuf', 'caller')

  def cc_ping_pong_shm(self):
    """There and back, which is two samples of that run."""
    one_way = self._cc('cc_ping_pong_shm', 'shm', 'latency', 'raw', 'caller')
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
        try:
          received = begun = self._some(messages, 1, flood)
          begin = time.perf_counter_ns()
          while received < self.count:
            received += self._some(messages, 1024, flood)
          took = time.perf_counter_ns() - begin
          messages.finish()
          until = time.monotonic() + LONG
          # It waits until all is handled.
          while flood.poll() is None and time.monotonic() < until:
            bus.poll(0.01)
          if flood.returncode != 0:
            raise RuntimeError(f'{FLOOD}: status {flood.returncode}')
        finally:
          flood.kill()
    return [took / (received - begun)]

  def _some(self, messages, count_max, flood):
    """Receives up to so many, at least one, and returns how many."""
    until = None
    while True:
      received = len(messages.recv_many(count_max, TURN))
      if received > 0:
        return received
      until = until or time.monotonic() + LONG
      if flood.poll() is not None or time.monotonic() > until:
        raise RuntimeError(f'{FLOOD}: status {flood.returncode}, and its '
                           'messages have not all come')

  def recv_many_raw(self):
    return self._receive_many(RAW, 'raw')

  def recv_many_protobuf(self):
    return self._receive_many(Note, 'protobuf')

  # Event loops: one-way, from a thread that goes on once it is answered.

  def _one_way(self, send, receive):
    turn = threading.Semaphore(0)
    is_over = threading.Event()
    count = max(10, self.count // 100)
    samples = []

    def write():
      with pinned(self.cpus[1]):
        while not is_over.is_set():
          send(time.perf_counter_ns())
          turn.acquire()

    async def read():
      writer = threading.Thread(target=write)
      writer.start()
      try:
        for index in range(count):
          sent = await receive()
          samples.append(time.perf_counter_ns() - sent)
          if index + 1 < count:
            turn.release()
      finally:  # Also when the time is up: the writer waits for its turn.
        is_over.set()
        turn.release()
        writer.join()

    asyncio.run(asyncio.wait_for(read(), LONG))
    return samples

  def floor_eventfd(self):
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    sent = collections.deque()
    arrived = None

    def send(now):
      sent.append(now)
      os.eventfd_write(descriptor, 1)

    def read():
      os.eventfd_read(descriptor)
      arrived.set_result(None)

    async def receive():
      nonlocal arrived
      loop = asyncio.get_running_loop()
      is_first = arrived is None
      arrived = loop.create_future()
      if is_first:
        loop.add_reader(descriptor, read)
      await arrived
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
        target=target, args=args, daemon=True)
    with pinned(self.cpus[1]):
      process.start()
    return process

  def _end(self, process):
    """Waits until the process ends, and raises unless it ends well."""
    process.join(LONG)
    if process.exitcode != 0:
      process.kill()
      raise RuntimeError(f'the other side: status {process.exitcode}')

  def _ping_pong(self, ping):
    count = max(10, self.count // 20)
    samples = []
    for _ in range(count):
      begin = time.perf_counter_ns()
      ping()
      samples.append(time.perf_counter_ns() - begin)
    return samples

  def floor_unix_socket(self):
    """Both sides sleep in the kernel."""
    return self._raw_socket(receive_asleep, is_blocking=True)

  def floor_unix_socket_spin(self):
    return self._raw_socket(receive_spinning, is_blocking=False)

  def _raw_socket(self, receive, is_blocking):
    path = os.path.join(self.folder.name, 'raw')
    with socket.socket(socket.AF_UNIX) as listening:
      listening.bind(path)
      listening.listen()
      listening.settimeout(LONG)
      process = self._start(echo_socket, path, receive, is_blocking)
      connection, _ = listening.accept()
    with connection:
      connection.setblocking(is_blocking)

      def ping():
        connection.sendall(PAYLOAD)
        if not receive(connection):
          raise RuntimeError('the other side ended')

      ping()
      samples = self._ping_pong(ping)
    self._end(process)
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
    self._end(process)
    return samples


def receive_asleep(connection):
  return connection.recv(len(PAYLOAD))


def receive_spinning(connection):
  while True:
    try:
      return connection.recv(len(PAYLOAD))
    except BlockingIOError:
      pass


def echo_socket(path, receive, is_blocking):
  with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    connection.setblocking(is_blocking)
    while True:
      data = receive(connection)
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


# Row, what it is compared with. Its goal, if it has one, is written against the
# first of these.
ROWS = [
    ('floor_empty_call', ()),
    ('cc_publish_raw', ()),
    ('publish_raw', ('cc_publish_raw',)),
    ('cc_publish_protobuf', ()),
    ('publish_protobuf', ('cc_publish_protobuf',)),
    ('cc_flood_raw', ()),
    ('recv_many_raw', ('cc_flood_raw',)),
    ('cc_flood_protobuf', ()),
    ('recv_many_protobuf', ('cc_flood_protobuf',)),
    ('floor_eventfd', ()),
    ('async_for', ('floor_eventfd',)),
    ('floor_unix_socket', ()),
    ('floor_unix_socket_spin', ()),
    ('ping_pong_unix', ('floor_unix_socket',)),
    ('ping_pong_unix_block', ('floor_unix_socket',)),
    ('cc_ping_pong_shm', ('floor_unix_socket', 'floor_unix_socket_spin')),
    ('ping_pong_shm', ('floor_unix_socket', 'floor_unix_socket_spin')),
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


def note_of(row, floors, middles, classes):
  """The notes on a row besides its own times.

  `middles` has the median of each round of each row.
  """
  middle = statistics.median(middles[row])
  notes = []
  if row.startswith(('recv_many', 'cc_flood')):
    notes.append(f'{1e3 / middle:.2f} M messages/s')
  if classes:
    notes.append(' and '.join(sorted(classes)))
  for floor in floors:
    ratio = statistics.median(
        own / below for own, below in zip(middles[row], middles[floor]))
    notes.append(
        f'{floor} {statistics.median(middles[floor]):.0f} ns, ratio {ratio:.2f}')
  if row in GOALS:
    goal = GOALS[row](statistics.median(middles[floors[0]]))
    notes.append(
        f'goal {goal:.0f} ns: {"met" if middle <= goal else "missed"}')
  return '; '.join(notes)


def parsed_arguments():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--count', type=int, default=100000,
                      help='calls in each round of a row')
  parser.add_argument('--rows', default='',
                      help='those to measure, with commas between; all')
  arguments = parser.parse_args()
  known = [row for row, _ in ROWS]
  arguments.rows = arguments.rows.split(',') if arguments.rows else known
  if arguments.rounds < 1 or arguments.count < COUNT_MIN:
    parser.error(f'--rounds is at least 1, --count at least {COUNT_MIN}')
  for row in arguments.rows:
    if row not in known:
      parser.error(f'unknown row "{row}"; known: {", ".join(known)}')
  return arguments


def main():
  arguments = parsed_arguments()
  wanted = set(arguments.rows)
  for row, floors in ROWS:
    if row in arguments.rows:
      wanted.update(floors)
  rows = [(row, floors) for row, floors in ROWS if row in wanted]
  bench = Bench(arguments.count)
  samples = {row: [] for row, _ in rows}  # A list for each round.
  for _ in range(arguments.rounds):
    for row, _ in rows:
      samples[row].append(bench.measure(row))
  middles = {row: [statistics.median(values) for values in samples[row]]
             for row in samples}
  print(f'{"row":<22} {"p50 ns":>10} {"p99 ns":>10} {"max ns":>11}  note')
  for row, floors in rows:
    middle = statistics.median(middles[row])
    p99, most = '-', '-'
    if not row.startswith(OF_MEANS):
      of_rounds = [percentile(values, 0.99) for values in samples[row]]
      p99 = f'{statistics.median(of_rounds):.0f}'
      most = f'{max(max(values) for values in samples[row]):.0f}'
    print(f'{row:<22} {middle:>10.0f} {p99:>10} {most:>11}  '
          f'{note_of(row, floors, middles, bench.classes[row])}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
