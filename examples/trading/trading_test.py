"""The model answers, in the market's process and in one of its own."""

import tempfile
import unittest

from examples.trading import demo

COUNT = 2000


class TradingTest(unittest.TestCase):

  def test_embedded_model_is_reached_without_a_socket(self):
    said = demo.embedded(COUNT)
    self.assertIn(f'{COUNT} signals over inproc', said)
    self.assertEqual(
        said.count(f'accepted {COUNT}, delivered {COUNT}, dropped 0'), 2, said)

  def test_separate_model_is_reached_over_a_socket(self):
    said = demo.separate(COUNT)
    self.assertIn(f'{COUNT} signals over unix', said)
    self.assertIn(f'MarketData: accepted {COUNT}, delivered 0, dropped 0', said)
    self.assertIn(f'Signal: accepted 0, delivered {COUNT}, dropped 0', said)

  def test_program_with_a_runtime_of_its_own_is_refused(self):
    with tempfile.TemporaryDirectory(prefix='tr-', dir='/tmp') as folder:
      with self.assertRaises(demo.Failure) as raised:
        demo.run_desk('embedded.toml', COUNT, 'embed',
                      program='static_trading_desk', folder=folder)
    self.assertIn('ImportError', str(raised.exception))
    self.assertIn('//mycelium:shared', str(raised.exception))


if __name__ == '__main__':
  unittest.main()
