"""Tests of tools/count_results.py."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

from tools import count_results

_FINISHED = {'id': {'buildFinished': {}}, 'finished': {}}

_GTEST_XML = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="4">
  <testsuite name="Suite">
    <testcase name="Passes" status="run" result="completed"/>
    <testcase name="Fails" status="run"><failure message="no"/></testcase>
    <testcase name="DISABLED_A" status="notrun" result="suppressed"/>
    <testcase name="B" status="run" result="skipped"><skipped/></testcase>
  </testsuite>
</testsuites>
"""
_TWO_PASS_XML = '<testsuite><testcase/><testcase/></testsuite>'
_BAZEL_ERROR_XML = (
    '<testsuites><testsuite><testcase name="x"><error message="exited"/>'
    '</testcase></testsuite></testsuites>')


def _completed(label, success):
  completed = {'success': True} if success else {}
  return {'id': {'targetCompleted': {'label': label}}, 'completed': completed}


class CountTest(unittest.TestCase):

  def setUp(self):
    self._directory = tempfile.TemporaryDirectory()
    self._files = 0

  def tearDown(self):
    self._directory.cleanup()

  def _write(self, text):
    self._files += 1
    # A blank in the path is escaped in the URI.
    path = os.path.join(self._directory.name, f'test {self._files}.xml')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(text)
    return path

  def _result(self, label, status, xml=None, attempt=1):
    outputs = []
    if xml is not None:
      uri = 'file://' + self._write(xml).replace(' ', '%20')
      outputs.append({'name': 'test.xml', 'uri': uri})
    return {
        'id': {
            'testResult': {
                'label': label, 'run': 1, 'shard': 1, 'attempt': attempt
            }
        },
        'testResult': {'status': status, 'testActionOutput': outputs},
    }

  def _count(self, *events, bazel_status=0):
    return str(count_results.count(events, bazel_status))

  def test_cases_of_a_green_test_are_counted(self):
    result = self._result('//a', 'PASSED', _TWO_PASS_XML)
    self.assertEqual(self._count(result, _FINISHED), '2 passed, 0 failed')

  def test_failed_and_skipped_cases_are_told_apart(self):
    result = self._result('//a', 'FAILED', _GTEST_XML)
    self.assertEqual(
        self._count(result, _FINISHED, bazel_status=3),
        '1 passed, 1 failed, 2 skipped')

  def test_target_without_cases_is_one_case(self):
    self.assertEqual(
        self._count(self._result('//a', 'PASSED'),
                    self._result('//b', 'PASSED', '<testsuites/>'),
                    self._result('//c', 'PASSED', 'not xml'), _FINISHED),
        '3 passed, 0 failed')

  def test_crash_after_green_cases_is_one_failure(self):
    self.assertEqual(
        self._count(self._result('//a', 'FAILED', _TWO_PASS_XML),
                    self._result('//b', 'FAILED', _TWO_PASS_XML), _FINISHED,
                    bazel_status=3),
        '4 passed, 2 failed')

  def test_timeout_without_cases_is_one_failure(self):
    self.assertEqual(
        self._count(self._result('//a', 'TIMEOUT'),
                    self._result('//b', 'TIMEOUT'), _FINISHED, bazel_status=3),
        '0 passed, 2 failed')

  def test_error_that_bazel_wrote_is_one_failure(self):
    result = self._result('//a', 'FAILED', _BAZEL_ERROR_XML)
    self.assertEqual(
        self._count(result, _FINISHED, bazel_status=3), '0 passed, 1 failed')

  def test_only_the_last_attempt_counts(self):
    self.assertEqual(
        self._count(
            self._result('//a', 'FAILED', _BAZEL_ERROR_XML, attempt=1),
            self._result('//a', 'PASSED', _TWO_PASS_XML, attempt=2), _FINISHED),
        '2 passed, 0 failed')

  def test_target_that_does_not_build_is_one_failure(self):
    self.assertEqual(
        self._count(_completed('//a', True), _completed('//b', False),
                    self._result('//a', 'PASSED'), _FINISHED, bazel_status=1),
        '1 passed, 1 failed')

  def test_target_for_another_platform_is_no_failure(self):
    skipped = {
        'id': {'targetCompleted': {'label': '//a'}},
        'aborted': {'reason': 'SKIPPED'},
    }
    self.assertEqual(
        self._count(skipped, self._result('//b', 'PASSED'), _FINISHED),
        '1 passed, 0 failed')

  def test_bazel_that_fails_without_a_reason_is_one_failure(self):
    self.assertEqual(
        self._count(self._result('//a', 'PASSED'), _FINISHED, bazel_status=8),
        '1 passed, 1 failed')

  def test_report_that_is_cut_short_is_one_failure(self):
    self.assertEqual(
        self._count(self._result('//a', 'PASSED')), '1 passed, 1 failed')

  def test_events_end_at_the_first_broken_line(self):
    path = self._write(json.dumps(_FINISHED) + '\n{"id": {"testRes')
    self.assertEqual(count_results.read_events(path), [_FINISHED])

  def _run_script(self, *events):
    path = self._write('\n'.join(json.dumps(event) for event in events))
    return subprocess.run(
        [sys.executable, count_results.__file__, '--bazel_status=0', path],
        stdout=subprocess.PIPE, encoding='utf-8', check=False)

  def test_script_exits_0_when_green(self):
    run = self._run_script(self._result('//a', 'PASSED'), _FINISHED)
    self.assertEqual((run.returncode, run.stdout), (0, '1 passed, 0 failed\n'))

  def test_script_exits_1_when_the_report_is_empty(self):
    run = self._run_script()
    self.assertEqual((run.returncode, run.stdout), (1, '0 passed, 1 failed\n'))


if __name__ == '__main__':
  unittest.main()
