"""What the owner of a partition has in hand, shared by the kinds of steps it takes."""

import time
from contextlib import AbstractAsyncContextManager

import asyncpg

from rater import reference
from rater.alerts import Alerts
from rater.log_reader import LogReader
from rater.memory import Customer, Memory
from rater.repeats import Repeats
from rater.repository import PartitionState, owner_step, take_changes
from rater.settings import RaterSettings
from rater.tail import Tail
from rater.waiting import Waiting
from runtime.clock import Clock
from runtime.postgres import Connection


class Owner:
    """The owner of one partition: where it stands, what it knows, and where it reads."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        settings: RaterSettings,
        reader: LogReader,
        state: PartitionState,
        clock: Clock,
    ) -> None:
        self.pool = pool
        self.settings = settings
        self.reader = reader
        self.state = state
        self.clock = clock
        self.memory = Memory(charges_max=settings.charges_max)
        self.months: set[int] = set()
        #: Amendments that wait for their events, as last committed.
        self.waiting = Waiting()
        self.repeats = Repeats()
        self.alerts = Alerts()
        #: What is not folded into sums of usage yet.
        self.tail = Tail(polls=1, entries=0, since=time.monotonic())
        #: Whether there may be cuts whose digests are still to be made.
        self.has_undigested = True

    def step(self) -> AbstractAsyncContextManager[Connection]:
        """Run one transaction of the owner; see `repository.owner_step`."""
        return owner_step(self.pool, self.state)

    async def take_changes(self) -> bool:
        """Make tasks of what was changed, and forget the customers it concerns."""
        before = self.state.changes_seen
        for customer_id in await take_changes(self.pool, self.state):
            self.memory.forget_customer(customer_id)
        if self.state.changes_seen == before:
            return False
        await reference.load_tenants(self.pool, self.memory)
        await self.alerts.load(self.pool, self.state.partition)
        return True

    async def customer(self, customer_ref: str) -> Customer:
        """Return a customer that is known to exist."""
        if customer_ref not in self.memory.customers:
            await reference.load_customers(self.pool, self.memory, [customer_ref])
        return self.memory.customers[customer_ref]
