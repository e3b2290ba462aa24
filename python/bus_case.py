"""What tests of buses have in common."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

import mycelium

LONG = 20  # Seconds; nothing that works takes that long.

MONOLITH = '''
[[nodes]]
name = "all"
services = ["asker", "answerer"]
'''
BUNDLED = '''
[[nodes]]
name = "left"
services = ["asker"]

[[nodes]]
name = "right"
services = ["answerer"]
'''
# A lane that a few messages fill.
NARROW = MONOLITH + '''
[limits]
frame_bytes_max = 8192
[defaults]
lane_bytes = 65536
'''
NARROW_FAIL = NARROW + 'overflow = "fail"'
NARROW_BLOCK = NARROW + 'overflow = "block"'


class BusCase(unittest.TestCase):
  """Makes buses, and a folder for them; both are gone after the test."""

  def setUp(self):
    # Bazel's own folder has a path that is too long for sockets.
    folder = tempfile.TemporaryDirectory(prefix='myc-', dir='/tmp')
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def path(self, name):
    return os.path.join(self.folder, name)

  def topology(self, text=MONOLITH):
    path = self.path('topology.toml')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(f'socket_dir = "{self.folder}"\n{text}')
    return path

  def bus(self, topology, service, **options):
    bus = mycelium.MessageBus.from_topology(topology, service, **options)
    self.addCleanup(bus.close, 0)
    return bus

  def pair(self, text=MONOLITH):
    """The buses of both services, in this process."""
    topology = self.topology(text)
    return self.bus(topology, 'asker'), self.bus(topology, 'answerer')

  def flow(self, ledger, topic):
    flows = [flow for flow in ledger if flow['topic'] == topic]
    self.assertEqual(len(flows), 1, ledger)
    return flows[0]

  def check_ledger(self, *buses, accepted=None):
    """The ledger balances over the nodes of `buses`, and nothing moves."""
    nodes = {bus.node: bus for bus in buses}
    sums = dict.fromkeys(('accepted', 'delivered', 'in_flight', 'dropped'), 0)
    for bus in nodes.values():
      for key, count in bus.stats().items():
        sums[key] += count
    self.assertEqual(sums['in_flight'], 0, sums)
    self.assertEqual(
        sums['accepted'], sums['delivered'] + sums['dropped'], sums)
    if accepted is not None:
      self.assertEqual(sums['accepted'], accepted)


def start(script, *arguments, **options):
  """Starts this Python with a script of the test and the same import path."""
  environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
  environment.update(options.pop('env', {}))
  return subprocess.Popen(
      [sys.executable, '-X', 'faulthandler', script, *arguments], env=environment,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
      **options)


def finish(process):
  """Its exit status, output and errors."""
  try:
    output, errors = process.communicate(timeout=LONG)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGABRT)  # faulthandler says where it hangs.
    output, errors = process.communicate(timeout=LONG)
  return process.returncode, output, errors
