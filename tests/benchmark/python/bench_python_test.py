"""Every row of bench_python is there and above nothing."""

import contextlib
import io
import sys
import unittest
import unittest.mock

from tests.benchmark.python import bench_python


class BenchPythonTest(unittest.TestCase):

  def test_every_row_is_measured(self):
    output = io.StringIO()
    arguments = ['bench_python', '--rounds=1', '--count=1000']
    with unittest.mock.patch.object(sys, 'argv', arguments):
      with contextlib.redirect_stdout(output):
        self.assertEqual(bench_python.main(), 0)
    rows = {line.split()[0]: float(line.split()[1])
            for line in output.getvalue().splitlines()[1:]}
    self.assertEqual(list(rows), [row for row, _ in bench_python.ROWS])
    for row, middle in rows.items():
      self.assertGreater(middle, 0, row)
    # Each goal was compared with.
    self.assertEqual(output.getvalue().count('; goal '),
                     len(bench_python.GOALS))


if __name__ == '__main__':
  unittest.main()
