"""Typed publish/subscribe for services: the Python side of Mycelium.

MessageBus is where to begin; the guide is docs/python-bridge/USAGE.md.
"""

# Before the rest of the extension.
from mycelium import _loading  # isort:skip pylint: disable=unused-import

from _mycelium import Loan
from _mycelium import Payload
from _mycelium import version
from mycelium.bus import MessageBus
from mycelium.errors import AlreadyExists
from mycelium.errors import DataLoss
from mycelium.errors import DeadlineExceeded
from mycelium.errors import FailedPrecondition
from mycelium.errors import Internal
from mycelium.errors import InvalidArgument
from mycelium.errors import MyceliumError
from mycelium.errors import NotFound
from mycelium.errors import PermissionDenied
from mycelium.errors import ResourceExhausted
from mycelium.errors import SchemaMismatch
from mycelium.errors import Unavailable
from mycelium.errors import Unimplemented
from mycelium.events import ConnectionEvent
from mycelium.events import FlowEvent
from mycelium.events import PublisherGone
from mycelium.message_type import RawType
from mycelium.message_type import digest
from mycelium.options import Limits
from mycelium.options import Settings
from mycelium.options import Tls
from mycelium.publisher import Publisher
from mycelium.subscriber import MessageInfo
from mycelium.subscriber import Subscriber
from mycelium.subscription import Subscription
from mycelium.topology import Topology
from mycelium.transports import SharedMemoryTransport
from mycelium.transports import TcpTransport
from mycelium.transports import UnixTransport

__version__ = version()

__all__ = [
    'AlreadyExists',
    'ConnectionEvent',
    'DataLoss',
    'DeadlineExceeded',
    'FailedPrecondition',
    'FlowEvent',
    'Internal',
    'InvalidArgument',
    'Limits',
    'Loan',
    'MessageBus',
    'MessageInfo',
    'MyceliumError',
    'NotFound',
    'Payload',
    'PermissionDenied',
    'Publisher',
    'PublisherGone',
    'RawType',
    'ResourceExhausted',
    'SchemaMismatch',
    'Settings',
    'SharedMemoryTransport',
    'Subscriber',
    'Subscription',
    'TcpTransport',
    'Tls',
    'Topology',
    'Unavailable',
    'Unimplemented',
    'UnixTransport',
    'digest',
    'version',
]
