"""The programs that meet each other, one for each language.

A peer is started as

    peer ROLE TRANSPORT ADDRESS SCHEMA_DIGEST COUNT PAUSE_AT

ROLE is `publish` or `subscribe`, which is also the name of its node; or `both`:
one process is both, on two threads. Where TRANSPORT is `topology`, ADDRESS is a
file with services of these names; `both` needs one. A peer prints `ready` once it
dials or listens. The publisher prints `matched`, sends COUNT notes with ids from
1, flushes, and prints its ledger: accepted, delivered, dropped, in flight, and
the transport. The subscriber checks the contents and order of each, prints
`from ID` at the first and whenever a publisher begins anew, `received ID` after
the last, and its ledger once its standard input ends, which is what both wait
for. PAUSE_AT is an id, or 0: the publisher prints `at ID` once it sent that one;
the subscriber does at each multiple, and waits for a line. What goes wrong is
printed as `error CODE text`.
"""

import os
import random
import socket
import subprocess
import sys

FOLDER = os.path.dirname(__file__)
LANGUAGES = {
    'C++': [os.path.join(FOLDER, 'cc_peer')],
    'Python': [sys.executable, os.path.join(FOLDER, 'py_peer.py')],
    'C': [os.path.join(FOLDER, 'c_peer')],
}
LONG = 60
DIGEST = bytes([1]) * 32


def free_address():
  """Where nobody listens, on one of the many hosts that this machine is."""
  host = '127.{}.{}.{}'.format(*(random.randint(1, 254) for _ in range(3)))
  with socket.socket() as free:
    free.bind((host, 0))
    return '{}:{}'.format(*free.getsockname())


class Peer:
  """One running peer."""

  def __init__(self, language, role, transport, address, digest=DIGEST,
               count=1, pause_at=0):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    self.process = subprocess.Popen(
        LANGUAGES[language] + [role, transport, address, digest.hex(),
                               str(count), str(pause_at)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, encoding='utf-8')

  def line(self):
    """The next line that it prints; what waits does not wait for ever."""
    return self.process.stdout.readline().strip()

  def go_on(self):
    self.process.stdin.write('\n')
    self.process.stdin.flush()

  def kill(self):
    self.process.kill()
    self.process.communicate()

  def end(self):
    """Lets it go; what it still prints, as lines."""
    output, _ = self.process.communicate(timeout=LONG)
    return output.split('\n')[:-1]
