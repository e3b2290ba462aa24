"""The model answers, in the market's process and in one of its own."""

import tempfile
import unittest
from unittest import mock

from examples.trading import demo

COUNT = 2000


class TradingTest(unittest.TestCase):

  def test_embedded_model_is_reached_without_a_socket(self):
    said = demo.embedded(COUNT)
    self.assertIn(f'{COUNT} signals over inproc', said)
    self.assertEqual(
        said.count(f'accepted {COUNT}, delivered {COUNT}, dropped 0'), 2, said)

  def test_separate_model_is_reached_through_shared_memory(self):
    said = demo.separate(COUNT)
    self.assertIn(f'{COUNT} signals over shm', said)
    self.assertEqual(said.count(f'accepted {COUNT}, delivered 0, dropped 0'), 2)
    self.assertEqual(said.count(f'accepted 0, delivered {COUNT}, dropped 0'), 2)
    # The market's half and the model's half of each topic.
    for topic in 'MarketData', 'TradingSignal':
      self.assertEqual(said.count(f'{topic}: accepted '), 2, said)

  def test_model_that_fails_is_a_failure(self):
    with tempfile.NamedTemporaryFile('w', suffix='.py') as script:
      script.write(f'import runpy, sys\n'
                   f'runpy.run_path({demo.MODEL!r}, run_name="__main__")\n'
                   f'sys.exit(3)\n')
      script.flush()
      with mock.patch.object(demo, 'MODEL', script.name):
        with self.assertRaises(demo.Failure) as raised:
          demo.separate(COUNT)
    self.assertIn('model: exit status 3', str(raised.exception))

  def test_message_that_was_not_delivered_is_a_failure(self):
    halves = ['A: accepted 2, delivered 0, dropped 0, in flight 0',
              'A: accepted 0, delivered 2, dropped 0, in flight 0',
              'B: accepted 1, delivered 1, dropped 0, in flight 0']
    demo.check('\n'.join(halves))
    for wrong in ([], halves[:2], halves[1:],
                  halves + ['B: accepted 1, delivered 0, dropped 1, in flight 0'],
                  halves + ['B: accepted 0, delivered 0, dropped 0, in flight 1']
                  ):
      with self.assertRaises(demo.Failure):
        demo.check('\n'.join(wrong))

  def test_word_that_the_desk_does_not_know_is_refused(self):
    with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
      with self.assertRaises(demo.Failure) as raised:
        demo.run_desk('embedded.toml', COUNT, 'embedd', folder=folder)
    self.assertIn('usage: trading_desk', str(raised.exception))

  def test_program_with_a_runtime_of_its_own_is_refused(self):
    with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
      with self.assertRaises(demo.Failure) as raised:
        demo.run_desk('embedded.toml', COUNT, 'embed',
                      program='static_trading_desk', folder=folder)
    self.assertIn('ImportError', str(raised.exception))
    self.assertIn('//mycelium:shared', str(raised.exception))


if __name__ == '__main__':
  unittest.main()
