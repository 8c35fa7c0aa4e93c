#!/usr/bin/env python3
"""kill -9 in the midst of a campaign, five times, with another number of workers each time.

    tests/peers/kills.py BUILD [--full]

Nothing that was answered 250 is lost. A message that came twice is one whose final reply the sink
sent in the last moments before a kill: checked for each. Which kill is told by the connection it
came over: a slow sink may read it only when the engine is dead. Every attempt to inject has a
recipient of its own, so an injector's second try is never taken for the engine's."""
import asyncio
import bisect
import sys
import threading
import time
from collections import defaultdict

import harness
from harness import PORT, check, check_equal, test, wait_for
from three_vmtas import configuration, read_record, start_sink

WORKERS = (1, 4, 2, 3, 1, 4)  # before each kill, and after the last
WINDOW_US = 20_000  # a reply must be in the journal so soon after it came
INJECTORS = 12
messages = 12_000


class Stalls:
    """How long this busy machine let a thread wait that wanted to run: nobody's fault."""

    def __init__(self):
        self.late, self.running = [], True  # (wall time, lateness), µs
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running:
            begin = time.monotonic_ns()
            time.sleep(0.002)
            late = (time.monotonic_ns() - begin) // 1000 - 2000
            if late > 1000:
                self.late.append((time.time_ns() // 1000, late))

    def before(self, time_us, span_us=300_000):
        """The worst of the last moments before a time."""
        return max((late for when, late in self.late if time_us - span_us <= when <= time_us +
                    late), default=0)


class Injector:
    """Sends messages over several connections, and again what was not answered."""

    def __init__(self, address, count):
        self.address, self.count = address, count
        self.next, self.answered, self.refused = 0, {}, 0  # answered: rcpt -> queue id
        self.tries = 0

    def take(self):
        if self.next == self.count:
            return None
        self.next += 1
        return self.next - 1

    async def expect(self, reader, code):
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        if not line.startswith(code):
            raise ConnectionError(line)
        return line

    async def one(self, reader, writer, rcpt):
        body = b"Subject: kill\r\n\r\n" + b"0123456789" * 60 + b"\r\n.\r\n"
        writer.write(f"MAIL FROM:<s@in.test>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            await self.expect(reader, code)
        writer.write(body)
        line = await self.expect(reader, b"250 2.0.0 Ok: queued as ")
        self.answered[rcpt] = line.split()[-1]

    async def connection(self):
        reader, writer = await asyncio.open_connection(*self.address)
        await self.expect(reader, b"220")
        writer.write(b"EHLO injector.test\r\n")
        await self.expect(reader, b"250")
        return reader, writer

    async def worker(self):
        number, streams, attempt = self.take(), None, 0
        while number is not None:
            try:
                streams = streams or await self.connection()
                self.tries += 1
                rcpt = f"m{number}-{attempt}@d{number % 50}.test"
                attempt += 1
                await self.one(*streams, rcpt)
                number, attempt = self.take(), 0
            except (OSError, asyncio.IncompleteReadError):
                self.refused += 1
                if streams is not None:
                    streams[1].close()
                streams = None
                await asyncio.sleep(0.05)

    async def all(self):
        await asyncio.gather(*[self.worker() for _ in range(INJECTORS)])

    def start(self):
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all()), daemon=True)
        self.thread.start()


class Kill:
    """Of one life of the engine: the wall clock in µs just before its end, and just before the
    next life began. In between the sink may still read what that life sent."""

    def __init__(self, engine):
        self.before_us = time.time_ns() // 1000
        engine.kill()
        self.next_us = time.time_ns() // 1000


def check_duplicates(lines, kills, stalls):
    """Each copy but a message's last was accepted in the last moments before the kill that ended
    its connection, or behind it."""
    copies = defaultdict(list)
    for line in lines:
        check_equal(len(line.rcpts), 1, "recipients of a message")
        copies[line.rcpts[0]].append((line.time_us, line.connected_us))
    wrong, twice = [], 0
    ends = [kill.next_us for kill in kills]
    for rcpt, times in copies.items():
        for copy_us, connected_us in sorted(times)[:-1]:
            twice += 1
            life = bisect.bisect_left(ends, connected_us)
            if life == len(kills):
                wrong.append((rcpt, "after the last kill", times))
                continue
            early_us = kills[life].before_us - copy_us
            if early_us > WINDOW_US + stalls.before(kills[life].before_us):
                wrong.append((rcpt, f"{early_us} µs before kill {life}", times))
    check(not wrong, f"{len(wrong)} of {twice} copies are not of a kill's last moments: "
                     f"{wrong[:5]}, stalls {[stalls.before(one.before_us) for one in kills]} µs")
    return twice, copies


def run_campaign(world, engine, injector, spools):
    """Kills and restarts while mail comes in and goes out, an equal share of it before each; when
    it was killed."""
    kills = []
    for life, workers in enumerate(WORKERS[1:], 1):
        share = messages * life // len(WORKERS)
        wait_for(lambda: len(injector.answered) >= share,
                 lambda: f"{len(injector.answered)} of {share} answered before kill {life}", 120)
        kills.append(Kill(engine))
        check(injector.thread.is_alive(), "all was injected before the last kill")
        engine.text = configuration(world, workers, world.address(11), spools)
        engine.write()
        engine.start()
    return kills


@test("kills: five kill -9 lose nothing that was answered 250", alone=True)
def kills(world):
    check_campaign(world, ("spool",))


@test("kills: five kill -9 of an engine with two spools lose nothing either", alone=True)
def kills_of_two_logs(world):
    check_campaign(world, ("spool", "second"))


def check_campaign(world, spools):
    sink, record = start_sink(world)
    engine = world.engine(text=configuration(world, WORKERS[0], world.address(11), spools))
    stalls = Stalls()
    injector = Injector((world.address(1), PORT), messages)
    injector.start()
    times = run_campaign(world, engine, injector, spools)
    injector.thread.join(240)
    check(not injector.thread.is_alive(), f"injected {injector.next} of {injector.count}")
    wait_for(lambda: engine.queued() == 0, lambda: f"{engine.queued()} left", 120)
    engine.stop()
    sink.end()
    lines = read_record(record)
    twice, copies = check_duplicates(lines, times, stalls)
    lost = [rcpt for rcpt in injector.answered if rcpt not in copies]
    check(not lost, f"{len(lost)} were answered 250 and never came: {lost[:10]}")
    check_equal(len(injector.answered), messages, "answered 250")
    check(all(line.source == world.address(101) for line in lines), "source addresses")
    rows = engine.csv_rows("acct")
    delivered = [row["rcpt"] for row in rows if row["type"] == "d"]
    check_equal(len(delivered), len(set(delivered)), "delivery records of different recipients")
    missing = set(copies) - set(delivered)
    check(not missing, f"delivered without a record: {sorted(missing)[:10]}")
    world.run.say(f"  {messages} messages, {injector.refused} tries cut off, {twice} came twice, "
                  f"{len(lines)} at the sink")


if __name__ == "__main__":
    if "--full" in sys.argv:
        sys.argv.remove("--full")
        messages = 100_000
    sys.exit(harness.main(__doc__.splitlines()[0]))
