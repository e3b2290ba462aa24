"""The detector in Python finds what outlier_watch_test.cc expects in C++."""

import unittest

from examples.host_monitor import detector
from examples.host_monitor.host_monitor_pb2 import HostSample


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
    with self.assertRaises(ValueError):
      detector.seconds_of('300')

  def test_burst_is_published(self):
    published = []
    found = detector.Detector(published.append)
    for number in range(30):
      sample = HostSample(time_ns=number)
      sample.cpu.total_percent = 100 if number >= 25 else 5
      found.on_sample(sample)
    self.assertEqual([(anomaly.metric, anomaly.time_ns, anomaly.usual)
                      for anomaly in published], [('cpu.total', 27, 5)])


if __name__ == '__main__':
  unittest.main()
