"""The pipeline works wherever its steps are, and while one of them is killed."""

import re
import unittest

from examples.ml_pipeline import demo

COUNT = 1000
WINDOWS = 'ml_pipeline.Window'


class MlPipelineTest(unittest.TestCase):

  def check_said(self, said):
    """Checks that the model has learnt; returns how many came again."""
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
        flows, {WINDOWS: 'shm', demo.FEATURES: 'shm', demo.PREDICTIONS: 'shm'})

  def test_model_on_another_machine(self):
    said, flows = demo.run('remote_model.toml', COUNT)
    self.assertEqual(self.check_said(said), 0)
    self.check_flows(
        flows, {WINDOWS: 'shm', demo.FEATURES: 'grpc', demo.PREDICTIONS: 'grpc'})

  def test_killed_model_comes_back_and_no_window_is_missing(self):
    said, flows = demo.run('processes.toml', COUNT, kill_model=True)
    self.check_said(said)  # Each window, at least once.
    # The counts of the killed model are gone with it; the counts of its sender
    # are not.
    self.assertEqual(flows[demo.FEATURES]['accepted'], COUNT)
    for sums in flows.values():
      self.assertEqual((sums['dropped'], sums['in_flight']), (0, 0), flows)

  def test_message_that_was_not_delivered_is_a_failure(self):
    whole = {'transport': 'shm', 'accepted': 2, 'delivered': 2, 'dropped': 0,
             'in_flight': 0}
    demo.check({WINDOWS: whole, demo.FEATURES: whole})
    for wrong in {'delivered': 1, 'dropped': 1}, {'in_flight': 1}:
      for uncounted in (), (WINDOWS,):
        with self.assertRaises(demo.Failure):
          demo.check({WINDOWS: dict(whole, **wrong)}, uncounted)
    fewer = dict(whole, delivered=1)
    demo.check({WINDOWS: fewer}, (WINDOWS,))
    with self.assertRaises(demo.Failure):
      demo.check({WINDOWS: fewer}, (demo.FEATURES,))


if __name__ == '__main__':
  unittest.main()
