"""Commands with our own rights, for tests whose pretended hosting is a folder of this machine."""

from shared.addresses import LOOPBACK
from shared.isolation.bare import Bare
from shared.isolation.choosing import Isolation
from shared.isolation.limits import Limits

UNISOLATED = Isolation(Bare(), Limits(), LOOPBACK)
