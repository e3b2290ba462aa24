"""Flags that ask for nothing sensible end the benchmark with the status 2."""

import os
import subprocess
import unittest

FOLDER = os.path.dirname(__file__)
DEADLINE_S = 60


class ExitStatusTest(unittest.TestCase):

  def assert_status(self, status, program, *flags):
    ended = subprocess.run(
        [os.path.join(FOLDER, program), *flags], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding='utf-8', timeout=DEADLINE_S,
        check=False)
    self.assertEqual(ended.returncode, status, f'{flags}: {ended.stdout}')

  def test_bench(self):
    self.assert_status(0, 'bench', '--list', '--variants=caller')
    for flag in ('--transports=shmem', '--variants=no_such', '--ring_bytes=-1',
                 '--open_rate=nan', '--rounds=0', '--modes=latency,no_such'):
      self.assert_status(2, 'bench', '--list', flag)
    self.assert_status(2, 'bench', '--cpus=0,one,1', '--sizes=64')
    self.assert_status(2, 'bench', '--json=/no/such/folder/file')
    self.assert_status(0, 'bench', '--soak=1000', '--transports=inproc,shm',
                       '--sizes=64', '--wait=spin')
    self.assert_status(2, 'bench', '--soak=-1')
    self.assert_status(2, 'bench', '--soak=10', '--modes=latency')
    self.assert_status(1, 'bench', '--no_such_flag')  # Abseil's own.

  def test_hot_path(self):
    self.assert_status(0, 'hot_path', '--messages=1')
    self.assert_status(0, 'hot_path', '--messages=3', '--burst=2',
                       '--transport=unix', '--subscribers=2')
    for flags in (('--transport=tcp',), ('--delivery=push',), ('--kind=json',),
                  ('--burst=0',), ('--subscribers=0',),
                  ('--transport=inproc', '--subscribers=8'),
                  ('--delivery=pull', '--kind=protobuf')):
      self.assert_status(2, 'hot_path', *flags)

  def test_publish_call(self):
    self.assert_status(0, 'publish_call', '--messages=1000', '--rounds=1',
                       '--subscribers=2')
    for flag in ('--subscribers=0', '--subscribers=101', '--messages=0',
                 '--messages=10000001', '--rounds=0', '--pause_ns=-1',
                 '--bytes=2000000'):
      self.assert_status(2, 'publish_call', flag)


if __name__ == '__main__':
  unittest.main()
