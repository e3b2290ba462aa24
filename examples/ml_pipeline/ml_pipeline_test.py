"""The pipeline works wherever its steps are, and while one of them is killed."""

import re
import unittest

from examples.ml_pipeline import demo

COUNT = 1000
WINDOWS = 'ml_pipeline.Window'
FEATURES = 'ml_pipeline.Features'
PREDICTIONS = 'ml_pipeline.Prediction'


class MlPipelineTest(unittest.TestCase):

  def check_said(self, said):
    """The model has learnt; how many came again."""
    right, again = re.fullmatch(
        rf'{COUNT} windows, ([\d.]+) % right, (\d+) again', said).groups()
    self.assertGreater(float(right), 90)  # Guessing would be 25.
    return int(again)

  def check_flows(self, flows, transports):
    self.assertEqual(
        flows,
        {topic: {'transport': transport, 'accepted': COUNT, 'delivered': COUNT,
                 'dropped': 0, 'in_flight': 0}
         for topic, transport in transports.items()})

  def test_all_on_one_machine(self):
    said, flows = demo.run('processes.toml', COUNT)
    self.assertEqual(self.check_said(said), 0)
    self.check_flows(
        flows, {WINDOWS: 'shm', FEATURES: 'shm', PREDICTIONS: 'shm'})

  def test_model_on_another_machine(self):
    said, flows = demo.run('remote_model.toml', COUNT)
    self.assertEqual(self.check_said(said), 0)
    self.check_flows(
        flows, {WINDOWS: 'shm', FEATURES: 'grpc', PREDICTIONS: 'grpc'})

  def test_killed_model_comes_back_and_no_window_is_missing(self):
    said, flows = demo.run('processes.toml', COUNT, kill_model=True)
    self.check_said(said)  # Each window, at least once.
    # What the killed one counted is gone with it, but not what it was sent.
    self.assertEqual(flows[FEATURES]['accepted'], COUNT)
    for sums in flows.values():
      self.assertEqual((sums['dropped'], sums['in_flight']), (0, 0), flows)


if __name__ == '__main__':
  unittest.main()
