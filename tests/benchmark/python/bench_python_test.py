"""Every row of bench_python is there and above nothing."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

from tests.benchmark.python import bench_python


def exit_unless_on(cpu):
  sys.exit(0 if os.sched_getaffinity(0) == {cpu} else 1)


class BenchPythonTest(unittest.TestCase):

  def test_every_row_is_measured(self):
    output = io.StringIO()
    with unittest.mock.patch.object(
        sys, 'argv', ['bench_python', '--rounds=1', '--count=1000']):
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

  def test_arguments_that_measure_nothing_are_refused(self):
    for argument in ('--rows=no_such', '--count=1', '--rounds=0'):
      with unittest.mock.patch.object(sys, 'argv', ['bench_python', argument]):
        with contextlib.redirect_stderr(io.StringIO()):
          with self.assertRaises(SystemExit) as refusal:
            bench_python.main()
      self.assertEqual(refusal.exception.code, 2, argument)

  def test_percentile_is_the_nearest_rank(self):
    values = list(range(1, 101))
    self.assertEqual(bench_python.percentile(values, 0.99), 99)
    self.assertEqual(bench_python.percentile(values, 1), 100)
    self.assertEqual(bench_python.percentile(values, 0), 1)
    self.assertEqual(bench_python.percentile([7], 0.99), 7)

  def test_ratio_is_taken_inside_each_round(self):
    # The machine was ten times as slow in the last round.
    middles = {'async_for': [2, 2, 30], 'floor_eventfd': [1, 10, 10]}
    note = bench_python.note_of('async_for', ['floor_eventfd'], middles, set())
    self.assertIn('floor_eventfd 10 ns, ratio 2.00', note)

  def test_class_of_the_cpus_is_noted(self):
    note = bench_python.note_of(
        'cc_flood_raw', [], {'cc_flood_raw': [100]}, {'near', 'far'})
    self.assertEqual(note, '10.00 M messages/s; far and near')

  def test_publisher_that_fails_ends_the_row(self):
    with unittest.mock.patch.object(bench_python, 'FLOOD', '/bin/false'):
      with self.assertRaisesRegex(RuntimeError, '/bin/false: status 1'):
        bench_python.Bench(bench_python.COUNT_MIN).recv_many_raw()

  def test_other_side_that_fails_ends_the_row(self):
    bench = bench_python.Bench(1)
    with self.assertRaisesRegex(RuntimeError, 'status 1'):
      bench._end(bench._start(exit_unless_on, -1))

  def test_writer_ends_with_its_reader(self):
    async def receive():
      raise ValueError()

    before = threading.active_count()
    with self.assertRaises(ValueError):
      bench_python.Bench(1)._one_way(lambda now: None, receive)
    self.assertEqual(threading.active_count(), before)

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
