#!/usr/bin/env python3
"""A campaign over three virtual MTAs and a hundred domains: everybody's counts agree.

    tests/peers/campaign.py BUILD [--full]

Postfix's smtp-source injects through three listeners, each of a <source> with a virtual MTA of
its own; a receiver records each message it accepts: our sink, then Postfix's smtp-sink. 20,000
messages to each, with --full 100,000. Every recipient is different, so the receiver's record, the
accounting and the engine's counters are held against each other message by message."""
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import PORT, Failure, check, check_equal, test, wait_for
from receivers import SBIN, body_digest, start_smtp_sink, take_dumps
from three_vmtas import VMTAS, configuration, read_record, start_sink

DOMAINS = 100
SESSIONS = 8      # smtp-source runs at the same time
SIZE = 2000
messages = 20_000


def inject(world):
    """smtp-source, run after run: (virtual MTA, domain) by turns. Recipients are N + name."""
    share, more = divmod(messages, len(VMTAS) * DOMAINS)
    jobs = []
    for place in range(len(VMTAS) * DOMAINS):
        number, domain = divmod(place, DOMAINS)
        vmta, count = VMTAS[number], share + (place < more)
        jobs.append([f"{SBIN}/smtp-source", "-s", "2", "-m", str(count), "-d", "-N", "-l",
                     str(SIZE), "-f", f"{vmta}@in.test", "-t", f"-{vmta}@d{domain}.test", "-S",
                     "campaign", f"{world.address(1 + number)}:{PORT}"])
    with ThreadPoolExecutor(SESSIONS) as pool:
        for done in pool.map(lambda job: subprocess.run(job, capture_output=True, text=True,
                                                        timeout=300, check=False), jobs):
            check(done.returncode == 0 and not done.stderr, f"smtp-source: {done.stderr[-500:]}")
    return messages


def injected_body():
    """What smtp-source makes of -l: X, in lines of 80 that begin with their number's last digit;
    what is left of them is one line more."""
    lines = [f"{number % 10}{'X' * 77}\r\n" for number in range(1, (SIZE - 1) // 80 + 1)]
    rest = SIZE - sum(map(len, lines))
    return "".join([*lines, "X" * rest, "\r\n"]).encode()


def check_counts(sent, status):
    traffic = status["traffic"]
    check_equal(traffic["messagesIn"], sent, "messagesIn")
    check_equal(traffic["rcptsIn"], sent, "rcptsIn")
    check_equal(traffic["delivered"], sent, "delivered")
    check_equal((traffic["deferred"], traffic["bounced"]), (0, 0), "deferred, bounced")


def check_arrivals(sent, lines):
    """Each message arrived once, as it was; the recipients."""
    check_equal(len(lines), sent, "messages at the receiver")
    check_equal({len(line.rcpts) for line in lines}, {1}, "recipients of a message")
    rcpts = sorted(line.rcpts[0] for line in lines)
    check_equal(len(set(rcpts)), sent, "different recipients at the receiver")
    check_equal({line.digest for line in lines}, {body_digest(injected_body())}, "bodies")
    return rcpts


def check_sources(world, lines):
    """Each message came from its own virtual MTA's address and name."""
    for number, vmta in enumerate(VMTAS):
        own = [line for line in lines if line.rcpts[0].partition("@")[0].endswith("-" + vmta)]
        seen = {(line.source, line.hello, line.sender) for line in own}
        check_equal(seen, {(world.address(101 + number), f"{vmta}.example.test",
                            f"{vmta}@in.test")}, vmta)
    check_equal(len({line.rcpts[0].partition("@")[2] for line in lines}), DOMAINS, "domains")


def check_accounting(world, rows, rcpts):
    """One delivery for each recipient that the receiver saw, by its virtual MTA."""
    check_equal({row["type"] for row in rows}, {"d"}, "types of records")
    check(sorted(row["rcpt"] for row in rows) == rcpts, "accounting and receiver differ")
    for row in rows:
        vmta = row["orig"].partition("@")[0]
        wanted = (vmta, f"{row['rcpt'].partition('@')[2]}/{vmta}",
                  world.address(101 + VMTAS.index(vmta)))
        if (row["vmta"], row["queue"], row["dlvSourceIp"]) != wanted:
            raise Failure(f"{row}, wanted {wanted}")


def run_campaign(world, receiver, take_lines):
    """The receiver runs on .11; take_lines() reads what it recorded when it has ended."""
    engine = world.engine(text=configuration(world, 2, world.address(11)))
    begin = time.monotonic()
    sent = inject(world)
    injected = time.monotonic() - begin
    wait_for(lambda: engine.queued() == 0, lambda: f"{engine.queued()} left", 120)
    seconds = time.monotonic() - begin
    wait_for(lambda: engine.status()["spool"]["recipients"] == 0, "the spool is empty")
    status = engine.status()
    engine.stop()
    receiver.end()
    lines = take_lines()
    check_counts(sent, status)
    rcpts = check_arrivals(sent, lines)
    check_sources(world, lines)
    check_accounting(world, engine.csv_rows("acct"), rcpts)
    world.run.say(f"  {sent} messages, injected in {injected:.1f} s, delivered after "
                  f"{seconds:.1f} s")


@test("campaign: our sink, accounting and counters agree to the message", alone=True,
      needs="smtp-source")
def campaign(world):
    sink, record = start_sink(world)
    run_campaign(world, sink, lambda: read_record(record))


@test("campaign: Postfix's smtp-sink, accounting and counters agree to the message", alone=True,
      needs="smtp-source")
def campaign_smtp_sink(world):
    folder, sink = start_smtp_sink(world, 11)
    run_campaign(world, sink, lambda: take_dumps(folder))


if __name__ == "__main__":
    if "--full" in sys.argv:
        sys.argv.remove("--full")
        messages = 100_000
    sys.exit(harness.main(__doc__.splitlines()[0]))
