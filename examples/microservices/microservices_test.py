"""The services do the same in one process and in three."""

import unittest

from examples.microservices import demo

ORDERS = 1000


class MicroservicesTest(unittest.TestCase):

  def check(self, topology, transport):
    said, flows = demo.run(topology)
    self.assertEqual(len(flows), 3)
    for topic, sums in flows.items():
      self.assertEqual(
          sums, {'transport': transport, 'accepted': ORDERS,
                 'delivered': ORDERS, 'in_flight': 0, 'dropped': 0}, topic)
    return said

  def test_topology_alone_decides_how_messages_travel(self):
    together = self.check('together.toml', 'inproc')
    apart = self.check('apart.toml', 'shm')
    self.assertEqual(together, apart)

  def test_message_that_was_not_delivered_is_a_failure(self):
    whole = {'accepted': 2, 'delivered': 2, 'in_flight': 0, 'dropped': 0}
    demo.check({'orders.Order': whole})
    for wrong in {'delivered': 1, 'dropped': 1}, {'delivered': 1}, {
        'in_flight': 1}:
      with self.assertRaises(demo.Failure):
        demo.check({'orders.Order': dict(whole, **wrong)})


if __name__ == '__main__':
  unittest.main()
