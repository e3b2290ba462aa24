"""The Python part of embedding_peer, which runs inside that C++ program."""

import mycelium
from mycelium_native import Runtime
from tests.testdata.test_messages_pb2 import Note

PATIENCE = 20.0


def say(line):
  print(line, flush=True)


class Receiver:
  """Takes the program's notes, on the thread that publishes them."""

  def __init__(self, schema_digest):
    self._runtime = Runtime(schema_digest)
    self._last = 0
    self._notes = self._runtime.subscribe(Note, self._on_note)

  def _on_note(self, note):
    if note.id != self._last + 1 or note.text != f'note {note.id}':
      raise ValueError(f'{note} after {self._last}')
    self._last = note.id

  def finish(self):
    try:
      self._notes.check()
      if self._notes.callback_errors:
        raise mycelium.DataLoss(f'{self._notes.callback_errors} were wrong')
      say(f'received {self._last}')
    except mycelium.MyceliumError as error:
      say(f'error {error.code} {error}')
    self._runtime.close()


class Sender:
  """Sends notes; the program handles them meanwhile."""

  def __init__(self, schema_digest, count):
    self._runtime = Runtime(schema_digest)
    try:
      self._runtime.wait_for_subscribers(Note, 1, PATIENCE)
      for number in range(1, count + 1):
        self._runtime.publish(Note(id=number, text=f'note {number}'))
    except mycelium.MyceliumError as error:
      say(f'error {error.code} {error}')

  def finish(self):
    self._runtime.close()
