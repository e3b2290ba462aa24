"""One side of an exchange, in Python.

peers.py describes what every language's peer does and prints.
"""

import sys
import threading

import mycelium
from tests.testdata.test_messages_pb2 import Note

PATIENCE = 20.0


def say(line):
  sys.stdout.write(f'{line}\n')  # One call: two threads may write.
  sys.stdout.flush()


def make_bus(service, transport, address, schema_digest):
  digest = bytes.fromhex(schema_digest)
  if transport == 'topology':
    return mycelium.MessageBus.from_topology(address, service, digest)
  return mycelium.MessageBus(node=service, schema_digest=digest)


def open_endpoint(bus, role, transport, address):
  if transport == 'topology':
    return
  connect, listen = {
      'unix': (bus.connect_unix, bus.listen_unix),
      'shm': (bus.connect_shm, bus.listen_shm),
      'grpc': (bus.connect_tcp, bus.listen_tcp),
  }[transport]
  if role == 'publish':
    connect(address)
  else:
    listen(address)


def say_ledger(bus):
  stats = bus.stats()
  transports = {flow['transport'] for flow in bus.ledger()}
  say('ledger {accepted} {delivered} {dropped} {in_flight} {transports}'.format(
      transports=','.join(sorted(transports)), **stats))


def publish(bus, publisher, count, pause_at):
  publisher.wait_for_subscribers(1, PATIENCE)
  say('matched')
  for number in range(1, count + 1):
    publisher.publish(Note(id=number, text=f'note {number}'))
    if number == pause_at:
      say(f'at {number}')
  bus.flush(PATIENCE)
  say_ledger(bus)


def receive(notes, count, pause_at):
  last = 0
  while last < count:
    note = notes.recv(PATIENCE)
    if note.text != f'note {note.id}':
      raise mycelium.DataLoss('text')
    # The first id tells where the publisher is; id 1 begins a new publisher.
    if last != 0 and note.id not in (last + 1, 1):
      raise mycelium.DataLoss(f'{note.id} after {last}')
    if last == 0 or note.id != last + 1:
      say(f'from {note.id}')
    last = note.id
    if pause_at and last % pause_at == 0:
      say(f'at {last}')
      sys.stdin.readline()
  notes.finish()
  say(f'received {last}')


def run_both(address, schema_digest, count):
  publishing, subscribing = (
      make_bus(service, 'topology', address, schema_digest)
      for service in ('publish', 'subscribe'))
  notes = subscribing.subscriber(Note)
  publisher = publishing.publisher(Note)
  other = threading.Thread(
      target=publish, args=(publishing, publisher, count, 0))
  other.start()
  receive(notes, count, 0)
  other.join()


def main(role, transport, address, schema_digest, count, pause_at):
  if role == 'both':
    run_both(address, schema_digest, int(count))
    return
  bus = make_bus(role, transport, address, schema_digest)
  notes = bus.subscriber(Note) if role == 'subscribe' else None
  publisher = bus.publisher(Note) if role == 'publish' else None
  try:
    open_endpoint(bus, role, transport, address)
    say('ready')
    if role == 'publish':
      publish(bus, publisher, int(count), int(pause_at))
    else:
      receive(notes, int(count), int(pause_at))
    done = True
  except mycelium.MyceliumError as error:
    say(f'error {error.code} {error}')
    done = False
  # Waits while the other side counts, or has not learnt why it is refused.
  sys.stdin.readline()
  if done and role == 'subscribe':
    say_ledger(bus)


if __name__ == '__main__':
  main(*sys.argv[1:])
