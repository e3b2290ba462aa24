"""Every row of bench_python is there and above nothing."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from tests.benchmark.python import bench_python


def exit_unless_on(cpu):
  sys.exit(0 if os.sched_getaffinity(0) == {cpu} else 1)


class BenchPythonTest(unittest.TestCase):

  def test_every_row_is_measured(self):
    output = io.StringIO()
    arguments = ['bench_python', '--rounds=1', '--count=1000']
    with unittest.mock.patch.object(sys, 'argv', arguments):
      with contextlib.redirect_stdout(output):
        self.assertEqual(bench_python.main(), 0)
    lines = [line.split() for line in output.getvalue().splitlines()[1:]]
    rows = {line[0]: float(line[1]) for line in lines}
    self.assertEqual(list(rows), [row for row, _ in bench_python.ROWS])
    for row, middle in rows.items():
      self.assertGreater(middle, 0, row)
    for row, _, p99, most, *_ in lines:
      means = row.startswith(bench_python.OF_MEANS)
      self.assertEqual([p99 == '-', most == '-'], [means, means], row)
    # Each goal was compared with.
    self.assertEqual(output.getvalue().count('; goal '),
                     len(bench_python.GOALS))

  def test_note_is_as_large_as_that_of_cc(self):
    self.assertIn(bench_python.NOTE.ByteSize(), range(57, 65))
    with tempfile.TemporaryDirectory(dir='/tmp') as folder:
      path = os.path.join(folder, 'note')
      with bench_python.mycelium.MessageBus() as bus:
        notes = bus.subscriber(bench_python.Note)
        bus.listen_shm(path)
        with subprocess.Popen([bench_python.FLOOD, path, 'protobuf', '1']):
          self.assertEqual(notes.recv(bench_python.LONG), bench_python.NOTE)
          notes.finish()

  def test_each_side_has_a_cpu(self):
    before = os.sched_getaffinity(0)
    bench = bench_python.Bench(1)
    bench.here = lambda: os.sched_getaffinity(0)
    self.assertEqual(bench.measure('here'), {bench.cpus[0]})
    self.assertEqual(os.sched_getaffinity(0), before)
    there = bench._start(exit_unless_on, bench.cpus[1])
    there.join(bench_python.LONG)
    self.assertEqual(there.exitcode, 0)
    self.assertEqual(os.sched_getaffinity(0), before)


if __name__ == '__main__':
  unittest.main()
