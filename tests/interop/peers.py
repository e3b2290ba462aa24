"""The programs that meet each other, one for each language.

A peer is started as

    peer ROLE TRANSPORT ADDRESS SCHEMA_DIGEST COUNT PAUSE_AT

ROLE is `publish` or `subscribe`, which is also the name of its node; or `both`:
one process is both, on two threads. If TRANSPORT is `topology`, ADDRESS is a
file with services of these names; `both` needs one. A peer prints `ready` once
it dials or listens. The publisher prints `matched`, sends COUNT notes with ids
from 1, flushes, and prints its ledger: accepted, delivered, dropped, in flight,
and the transport. The subscriber checks the contents and order of the notes. It
prints `from ID` at the first note and whenever a publisher begins anew, and
`received ID` after the last. It prints its ledger once its standard input ends;
both sides wait for that end. PAUSE_AT is an id, or 0. The publisher prints
`at ID` once it has sent that id; the subscriber prints it at each multiple, and
waits for a line. Errors are printed as `error CODE text`.
"""

import os
import random
import socket
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(__file__)
LANGUAGES = {
    'C++': [os.path.join(FOLDER, 'cc_peer')],
    'Python': [sys.executable, os.path.join(FOLDER, 'py_peer.py')],
    'C': [os.path.join(FOLDER, 'c_peer')],
}
LONG = 60
DIGEST = bytes([1]) * 32


def free_address():
  """An address at which nobody listens, on one of this machine's many hosts."""
  host = '127.{}.{}.{}'.format(*(random.randint(1, 254) for _ in range(3)))
  with socket.socket() as free:
    free.bind((host, 0))
    return '{}:{}'.format(*free.getsockname())


class Peer:
  """One running peer."""

  def __init__(self, language, role, transport, address, digest=DIGEST,
               count=1, pause_at=0):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    self.errors = tempfile.TemporaryFile()  # kill() closes it.
    self.process = subprocess.Popen(
        LANGUAGES[language] + [role, transport, address, digest.hex(),
                               str(count), str(pause_at)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=self.errors, encoding='utf-8')

  def line(self):
    """The next line that it prints; no peer waits for ever."""
    return self.process.stdout.readline().strip()

  def go_on(self):
    self.process.stdin.write('\n')
    self.process.stdin.flush()

  def kill(self):
    self.process.kill()
    self.process.communicate()
    self.errors.close()

  def end(self):
    """Ends its input; returns the lines that it still prints.

    A peer may exit with an error that it has printed, but no signal ends it.
    """
    output, _ = self.process.communicate(timeout=LONG)
    if self.process.returncode < 0:
      self.errors.seek(0)
      errors = self.errors.read().decode('utf-8', 'replace')
      raise AssertionError(
          f'{self.process.args} ended by signal {-self.process.returncode}:\n'
          f'{errors}')
    return output.split('\n')[:-1]
