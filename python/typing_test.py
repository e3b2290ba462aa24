"""mypy accepts the package, and sees the types that users see."""

import os
import subprocess
import sys
import tempfile
import unittest

import mycelium

PACKAGE = os.path.dirname(mycelium.__file__)
STUBS = os.path.join(os.path.dirname(PACKAGE), 'extension')

CONFIG = '''
[mypy]
strict = True
[mypy-google.*]
ignore_missing_imports = True
'''
GOOD = '''
import array
import asyncio
from typing import List
import mycelium
import numpy
from mycelium.message_type import ProtobufMessage

class Note:
  DESCRIPTOR: object
  id: int
  def SerializeToString(self) -> bytes:
    return b''
  @classmethod
  def FromString(cls, data: bytes) -> 'Note':
    return Note()

def use(bus: mycelium.MessageBus) -> List[int]:
  bus.publisher(Note).publish(Note())
  bus.publisher_to('x', Note, topic='t', publish_timeout=1.0).publish(b'')
  image = bus.publisher(mycelium.RawType('image'))
  bus.publisher(Note).try_publish(bytearray())
  bus.publisher(Note).try_publish(memoryview(b''))
  bus.publisher(Note).try_publish(array.array('b'))
  bus.publisher(Note).try_publish(numpy.zeros(3))
  bus.publisher(Note).try_publish(image.loan(3))
  notes = bus.subscriber(Note, overflow='latest')
  bus.subscribe(Note, lambda note: print(note.id),
                on_publisher_gone=lambda gone: print(gone.node))
  with mycelium.UnixTransport('/s').listen() as transport:
    transport.flush(1)
  tls = mycelium.Tls(ca='ca.pem')
  mycelium.MessageBus(settings=mycelium.Settings(retain=5, overflow='fail'),
                      limits=mycelium.Limits(links=3))
  mycelium.SharedMemoryTransport.open('/s', node='n', limits=None).close()
  mycelium.MessageBus.from_topology(
      None, 's', on_connection=lambda event: print(event.peer, event.error),
      on_flow=lambda event: print(event.messages))
  with mycelium.TcpTransport('feed', 9001, tls=tls).connect(1.0) as remote:
    remote.flush(1)
  return [note.id for note in notes.recv_many(10)] + [notes.recv(1.0).id]

async def read(notes: mycelium.Subscriber[Note]) -> int:
  async for note in notes:
    return note.id
  return (await notes.recv_async()).id
'''
BAD = '''
import mycelium
from good import Note

def use(bus: mycelium.MessageBus, notes: mycelium.Subscriber[int]) -> None:
  bus.publisher(Note).publish(3)
  bus.publisher(Note).try_publish('text')
  bus.flush('soon')
  notes.recv()
  text: str = notes.recv(1)
  mycelium.MessageBus(on_connection=lambda event: print(event.per))
  mycelium.UnixTransport('/s', node=1)
  mycelium.Settings(depth='many')
'''


class TypingTest(unittest.TestCase):

  def mypy(self, *arguments):
    with tempfile.TemporaryDirectory() as folder:
      config = os.path.join(folder, 'mypy.ini')
      with open(config, 'w', encoding='utf-8') as file:
        file.write(CONFIG)
      for name, text in (('good.py', GOOD), ('bad.py', BAD)):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
          file.write(text)
      environment = dict(
          os.environ,
          MYPYPATH=os.pathsep.join((os.path.dirname(PACKAGE), STUBS)))
      return subprocess.run(
          [sys.executable, '-m', 'mypy', '--config-file', config,
           '--no-incremental', *arguments],
          cwd=folder, env=environment, stdout=subprocess.PIPE, check=False,
          encoding='utf-8')

  def test_package_is_well_typed(self):
    checked = self.mypy('-p', 'mycelium', '-p', 'mycelium_native')
    self.assertEqual(checked.returncode, 0, checked.stdout)

  def test_package_says_that_it_is_typed(self):
    self.assertTrue(os.path.exists(os.path.join(PACKAGE, 'py.typed')))

  def test_users_see_the_types(self):
    checked = self.mypy('good.py')
    self.assertEqual(checked.returncode, 0, checked.stdout)

  def test_users_mistakes_are_seen(self):
    checked = self.mypy('bad.py')
    self.assertEqual(checked.stdout.count('error:'), 8, checked.stdout)


if __name__ == '__main__':
  unittest.main()
