"""The detector in Python finds what outlier_watch_test.cc expects in C++."""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import unittest
from unittest import mock

import mycelium
from examples.host_monitor import detector
from examples.host_monitor.host_monitor_pb2 import HostSample


TOPOLOGY = os.path.join(os.path.dirname(os.path.abspath(detector.__file__)),
                        'monolith.toml')
LONG = 20  # Seconds; nothing that works takes as long.


class DetectorTest(unittest.TestCase):

  def test_three_outliers_in_a_row_are_one_event(self):
    watch = detector.OutlierWatch(mad_min=1)
    for _ in range(detector.WARM_UP):
      self.assertIsNone(watch.add(10))
    self.assertIsNone(watch.add(100))
    self.assertIsNone(watch.add(100))
    median, score = watch.add(100)
    self.assertEqual(median, 10)
    self.assertGreater(score, detector.THRESHOLD)
    self.assertIsNone(watch.add(100))

  def test_noise_is_no_event(self):
    watch = detector.OutlierWatch(mad_min=4)
    for value in range(200):
      self.assertIsNone(watch.add(50 + value % 5))

  def test_sample_has_every_metric(self):
    sample = HostSample()
    sample.cpu.core_percent.extend([1, 2])
    sample.memory.total_bytes = 4
    sample.memory.available_bytes = 1
    metrics = {metric.name: metric.value
               for metric in detector.metrics_of(sample)}
    self.assertEqual(len(metrics), 9)
    self.assertEqual(metrics['memory.used'], 75)
    self.assertEqual(metrics['cpu.core1'], 2)

  def test_durations_are_those_of_the_other_program(self):
    self.assertEqual([detector.seconds_of(text)
                      for text in ('300s', '50ms', '1.5m', '1h')],
                     [300, 0.05, 90, 3600])
    for text in '300', '-1s':
      with self.assertRaises(argparse.ArgumentTypeError):
        detector.seconds_of(text)

  def test_flags_of_the_other_program_mean_nothing_and_others_are_refused(self):
    arguments = detector.arguments_of(
        ['--topology=file', '--run_for=2s', '--services=detector',
         '--period=50ms', '--refresh=200ms'])
    self.assertEqual((arguments.topology, arguments.run_for), ('file', 2))
    for word in '--topologie=file', '--run=2s', 'detector':
      said = io.StringIO()
      with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
        detector.arguments_of(['--topology=file', word])
      self.assertIn(f'unrecognized arguments: {word}', said.getvalue())

  def test_burst_is_published(self):
    published = []
    found = detector.Detector(published.append)
    for number in range(30):
      sample = HostSample(time_ns=number)
      sample.cpu.total_percent = 100 if number >= 25 else 5
      found.on_sample(sample)
    self.assertEqual([(anomaly.metric, anomaly.time_ns, anomaly.usual)
                      for anomaly in published], [('cpu.total', 27, 5)])

  def test_anomaly_that_cannot_be_told_does_not_keep_others_back(self):
    published = []

    def publish(anomaly):
      if anomaly.metric == 'cpu.total':
        raise mycelium.ResourceExhausted('no room')
      published.append(anomaly.metric)

    found = detector.Detector(publish)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
      for number in range(30):
        sample = HostSample()
        sample.cpu.total_percent = 100 if number >= 25 else 5
        sample.cpu.core_percent.append(sample.cpu.total_percent)
        found.on_sample(sample)
    self.assertEqual(published, ['cpu.core0'])
    self.assertEqual(said.getvalue(), 'detector: cpu.total not told: no room\n')


class MainTest(unittest.TestCase):

  def setUp(self):
    # As main() does, for the thread that is made before.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)

  def run_main(self):
    """Until a sample was handed over, and SIGTERM came."""
    published = []  # None, or why not.
    ended_by = []
    handed_over = []
    on_sample = detector.Detector.on_sample
    sigtimedwait = signal.sigtimedwait

    def publish():
      try:
        with mycelium.MessageBus.from_topology(TOPOLOGY, 'sampler') as bus:
          samples = bus.publisher(HostSample)
          samples.wait_for_subscribers(1, LONG)
          samples.publish(HostSample(time_ns=7))
          bus.flush(LONG)
        published.append(None)
      except mycelium.MyceliumError as error:
        published.append(error)
      finally:
        os.kill(os.getpid(), signal.SIGTERM)

    def take(found, sample):
      handed_over.append(sample.time_ns)
      on_sample(found, sample)

    def wait(*arguments):
      info = sigtimedwait(*arguments)
      ended_by.append(info and info.si_signo)
      return info

    thread = threading.Thread(target=publish)
    thread.start()
    try:
      with mock.patch.object(
          sys, 'argv',
          ['detector', f'--topology={TOPOLOGY}', f'--run_for={LONG}s']):
        with mock.patch.object(detector.Detector, 'on_sample', take):
          with mock.patch.object(signal, 'sigtimedwait', wait):
            detector.main()
    finally:
      thread.join()
      self.assertEqual((published, handed_over, ended_by),
                       ([None], [7], [signal.SIGTERM]))

  def test_ends_well(self):
    self.run_main()

  def test_sample_that_was_not_handled_is_a_failure(self):
    with mock.patch.object(detector, 'metrics_of', side_effect=ValueError):
      with self.assertRaises(SystemExit) as raised:
        self.run_main()
    self.assertEqual(raised.exception.code,
                     'detector: not handled, of samples: 1')


if __name__ == '__main__':
  unittest.main()
