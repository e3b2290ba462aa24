"""A service in Python: prints the version of Mycelium and the order it made."""

import mycelium
import order_pb2
from trading.v1 import side_pb2

order = order_pb2.Order(symbol='MYC', side=side_pb2.SIDE_BUY)
order.created.GetCurrentTime()
print(
    f'mycelium {mycelium.__version__}, order of {order.symbol}',
    'with' if order.HasField('created') else 'without', 'a time')
