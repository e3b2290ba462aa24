"""Counts test cases from what Bazel reports.

Reads the file of `bazel test --build_event_json_file` and the test.xml of
every test that ran, and prints `N passed, N failed`, with `, N skipped` if
there are any. Exits 1 if something failed.

A test target whose test.xml names no cases is one case. A target that does not
build is one failed case, and so is a test that failed without a failed case: a
crash, a timeout. If Bazel failed and nothing above says why, or its report is
missing or cut short, that is one failed case too: an unknown outcome is never
green.
"""

import argparse
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

# A flaky test passed in the end.
_PASSED = ('PASSED', 'FLAKY')


class Counts:
  """How many test cases ended in each way."""

  def __init__(self, passed=0, failed=0, skipped=0):
    self.passed = passed
    self.failed = failed
    self.skipped = skipped

  def add(self, other):
    self.passed += other.passed
    self.failed += other.failed
    self.skipped += other.skipped

  def total(self):
    return self.passed + self.failed + self.skipped

  def __str__(self):
    text = f'{self.passed} passed, {self.failed} failed'
    return text + (f', {self.skipped} skipped' if self.skipped else '')


def read_events(path):
  """Returns the build events of a file, up to the first unreadable line."""
  events = []
  try:
    with open(path, encoding='utf-8') as lines:
      for line in lines:
        events.append(json.loads(line))
  except (OSError, ValueError):
    pass
  return events


def count_xml(path):
  """Counts the cases of a test.xml in the forms of Bazel, gtest and pytest."""
  counts = Counts()
  try:
    root = ElementTree.parse(path).getroot()
  except (OSError, ElementTree.ParseError):
    return counts
  for case in root.iter('testcase'):
    if case.find('failure') is not None or case.find('error') is not None:
      counts.failed += 1
    elif case.find('skipped') is not None or case.get('status') == 'notrun':
      counts.skipped += 1
    else:
      counts.passed += 1
  return counts


def _count_attempt(attempt):
  counts = Counts()
  for output in attempt.get('testActionOutput', []):
    uri = urllib.parse.urlparse(output.get('uri', ''))
    if output.get('name') == 'test.xml' and uri.scheme == 'file':
      counts = count_xml(urllib.parse.unquote(uri.path))
  if attempt.get('status') in _PASSED:
    if counts.total() == 0:
      counts.passed = 1
  elif counts.failed == 0:
    counts.failed = 1
  return counts


def count(events, bazel_status):
  """Counts the cases of one `bazel test`, given its events and exit status."""
  attempts = {}
  counts = Counts()
  finished = False
  for event in events:
    event_id = event.get('id', {})
    if 'testResult' in event_id:
      # The last attempt of a shard is the one that counts.
      key = event_id['testResult']
      attempts[(key['label'], key.get('run'), key.get('shard'))] = event.get(
          'testResult', {})
    elif 'targetCompleted' in event_id:
      reason = event.get('aborted', {}).get('reason')
      success = event.get('completed', {}).get('success', False)
      # A target that does not fit the platform is left out on purpose.
      if not success and reason != 'SKIPPED':
        counts.failed += 1
    elif 'buildFinished' in event_id:
      finished = True
  for attempt in attempts.values():
    counts.add(_count_attempt(attempt))
  if counts.failed == 0 and (bazel_status != 0 or not finished):
    counts.failed = 1
  return counts


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--bazel_status', type=int, required=True)
  parser.add_argument('events')
  arguments = parser.parse_args()
  counts = count(read_events(arguments.events), arguments.bazel_status)
  print(counts)
  sys.exit(1 if counts.failed else 0)


if __name__ == '__main__':
  main()
