"""Settings and limits of buses without a topology, and what is refused."""

import unittest

import mycelium
from mycelium_native import Runtime
from python.bus_case import BusCase
from python.bus_case import LONG

BYTES = mycelium.RawType('bytes')
SMALL = mycelium.Settings(lane_bytes=4096, publish_timeout=0)
SMALL_FRAMES = mycelium.Limits(frame_bytes_max=2048)

# The texts for numbers out of bounds, which are those of C++ and C.
OUT_OF_BOUNDS = (
    (mycelium.Settings(depth=0),
     'settings.depth is 0; 1 to 1048576 are allowed'),
    (mycelium.Settings(window=1 << 20),
     'settings.window is 1048576; 1 to 65536 are allowed'),
    (mycelium.Settings(lane_bytes=4095),
     'settings.lane_bytes is 4095; 4KiB to 1GiB are allowed'),
    (mycelium.Settings(publish_timeout=-1),
     'settings.publish_timeout is -1s; 0 to 1h are allowed'),
    (mycelium.Settings(retain=90000),
     'settings.retain is 25h; 0 to 24h are allowed'),
    (mycelium.Settings(spin=0.5),
     'settings.spin is 500ms; 0 to 10ms are allowed'),
    (mycelium.Settings(retain=float('nan')),
     'settings.retain is '),
    (mycelium.Settings(retain=float('inf')),
     'settings.retain is '),
    (mycelium.Limits(handshake=0.001),
     'limits.handshake is 1ms; 10ms to 1m are allowed'),
    (mycelium.Limits(frame_bytes_max=1),
     'limits.frame_bytes_max is 1; 1KiB to 256MiB are allowed'),
    (mycelium.Limits(links=0),
     'limits.links is 0; 1 to 4096 are allowed'),
    (mycelium.Limits(reconnect_min=0),
     'limits.reconnect_min is 0; 1ms to 1m are allowed'),
    (mycelium.Limits(reconnect_max=0),
     'limits.reconnect_max is 0; 1ms to 1h are allowed'),
    (mycelium.Limits(keepalive=0),
     'limits.keepalive is 0; 100ms to 1h are allowed'),
    (mycelium.Limits(redeliver_max=-1),
     'limits.redeliver_max is -1; 0 to 1000000 are allowed'),
    (mycelium.Settings(lane_bytes=4096),
     'settings.lane_bytes 4096 takes frames of at most 2048, but '
     'limits.frame_bytes_max is 2097152'),
    (mycelium.Settings(overflow='wait'),
     'unknown overflow "wait"; known: block, fail,'),
    (mycelium.Settings(wait='sleep'),
     'unknown wait "sleep"; known: spin, adaptive, block'),
)


def keywords(options):
  return {type(options).__name__.lower(): options}


class OptionsTest(BusCase):

  def check_small(self, publish, subscriber, bus):
    """Checks that SMALL and SMALL_FRAMES hold for `publish` and `subscriber`."""
    with self.assertRaises(mycelium.InvalidArgument):
      publish(bytes(2048))
    sent = 0
    with self.assertRaises(mycelium.ResourceExhausted):
      while sent < 100:
        publish(bytes(900))
        sent += 1
    self.assertIn(sent, range(1, 5))
    self.assertEqual(len(subscriber.recv_many(100, LONG)), sent)
    subscriber.finish()
    self.check_ledger(bus, accepted=sent)

  def test_settings_and_limits_hold(self):
    with mycelium.MessageBus(settings=SMALL, limits=SMALL_FRAMES) as bus:
      subscriber = bus.subscriber(BYTES)
      self.check_small(bus.publisher(BYTES).publish, subscriber, bus)

  def test_overflow_holds(self):
    settings = mycelium.Settings(overflow='latest', wait='block')
    with mycelium.MessageBus(settings=settings) as bus:
      subscriber = bus.subscriber(BYTES)
      for number in range(5):
        bus.publisher(BYTES).publish(bytes([number]))
      self.assertEqual(bytes(subscriber.recv(LONG)), bytes([4]))
      subscriber.finish()
      self.check_ledger(bus, accepted=5)

  def test_transports_take_them(self):
    path = self.path('s')
    for transport in (
        mycelium.UnixTransport(path, settings=SMALL, limits=SMALL_FRAMES),
        mycelium.TcpTransport('localhost', 0, settings=SMALL,
                              limits=SMALL_FRAMES)):
      with transport.listen() as listening:
        with self.assertRaises(mycelium.InvalidArgument):
          listening.publisher(BYTES).loan(2048)
    for make in (mycelium.SharedMemoryTransport.create,
                 mycelium.SharedMemoryTransport.open):
      with make(path, settings=SMALL, limits=SMALL_FRAMES) as transport:
        with self.assertRaises(mycelium.InvalidArgument):
          transport.publisher(BYTES).loan(2048)

  def test_transports_take_how_to_wait_and_whom_to_let_in(self):
    path = self.path('s')
    unix = mycelium.UnixTransport
    shm = mycelium.SharedMemoryTransport
    makers = {
        'unix': lambda **options: unix(path, **options).listen(),
        'shm': lambda **options: shm.create(path, **options),
        'shm, who opens': lambda **options: shm.open(path, **options),
        'tcp': lambda **options: mycelium.TcpTransport(
            'localhost', 0, **options).listen()}
    for name, make in makers.items():
      with self.subTest(name):
        with make(poll_by_caller=True, wait='spin') as transport:
          transport.bus.poll(0)  # A bus with a thread would refuse that.
        with self.assertRaisesRegex(mycelium.InvalidArgument, 'wait "sleep"'):
          make(wait='sleep')
        with self.assertRaisesRegex(TypeError, 'not callable: 3'):
          make(on_flow=3)
        if name != 'tcp':
          with self.assertRaisesRegex(TypeError, 'allow_uids'):
            make(allow_uids=['root'])

  def test_opener_may_insist_on_the_capacity(self):
    path = self.path('s')
    with mycelium.SharedMemoryTransport.create(path, capacity=1 << 16):
      with mycelium.SharedMemoryTransport.open(
          path, capacity=1 << 17) as refused:
        with self.assertRaisesRegex(
            mycelium.FailedPrecondition, '65536 bytes, 131072 were asked for'):
          refused.bus.wait_for_link(LONG)
      for capacity in (1 << 16, None):
        with mycelium.SharedMemoryTransport.open(
            path, capacity=capacity) as same:
          same.bus.wait_for_link(LONG)
    for make in (mycelium.SharedMemoryTransport.create,
                 mycelium.SharedMemoryTransport.open):
      with self.assertRaisesRegex(mycelium.InvalidArgument, '4096 to'):
        make(path, capacity=100)

  def test_runtime_takes_them_without_a_topology(self):
    with Runtime(settings=SMALL, limits=SMALL_FRAMES) as runtime:
      runtime.subscribe(BYTES, lambda data: None, queued=True)
      with self.assertRaises(mycelium.InvalidArgument):
        runtime.publish_raw(BYTES, bytes(2048))
      runtime.publish_raw(BYTES, bytes(900))
      runtime.flush(LONG)
    with self.assertRaisesRegex(mycelium.InvalidArgument, 'topology'):
      Runtime(topology_path=self.topology(), service_name='asker',
              settings=SMALL)

  def test_what_is_out_of_bounds_is_named_as_in_cpp(self):
    for options, text in OUT_OF_BOUNDS:
      with self.subTest(options=options):
        with self.assertRaises(mycelium.InvalidArgument) as raised:
          mycelium.MessageBus(**keywords(options))
        prefix = '' if text.startswith('unknown') else 'BusOptions: '
        self.assertTrue(
            str(raised.exception).startswith(prefix + text), raised.exception)

  def test_wrong_types_are_named(self):
    for options, text in (
        (mycelium.Settings(depth='many'), 'depth must be an integer'),
        (mycelium.Settings(depth=1.5), 'depth must be an integer'),
        (mycelium.Settings(depth=1 << 70), 'depth must be an integer'),
        (mycelium.Settings(retain='5s'), 'retain must be a number'),
        (mycelium.Settings(overflow=3), 'overflow must be text'),
        (mycelium.Limits(links=[]), 'links must be an integer')):
      with self.subTest(options=options):
        with self.assertRaisesRegex(TypeError, text):
          mycelium.MessageBus(**keywords(options))
    for name in ('settings', 'limits', 'tls'):
      with self.assertRaisesRegex(TypeError, 'expected a mycelium.'):
        mycelium.MessageBus(**{name: {'depth': 1}})


if __name__ == '__main__':
  unittest.main()
