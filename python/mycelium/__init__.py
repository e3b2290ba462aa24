"""Typed publish/subscribe for services: the Python side of Mycelium."""

from _mycelium import version
from mycelium.bus import MessageBus
from mycelium.bus import Publisher
from mycelium.bus import Subscriber
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
from mycelium.message_type import type_digest

__version__ = version()

__all__ = [
    'AlreadyExists',
    'DataLoss',
    'DeadlineExceeded',
    'FailedPrecondition',
    'Internal',
    'InvalidArgument',
    'MessageBus',
    'MyceliumError',
    'NotFound',
    'PermissionDenied',
    'Publisher',
    'ResourceExhausted',
    'SchemaMismatch',
    'Subscriber',
    'Unavailable',
    'type_digest',
    'version',
]
