#!/usr/bin/env python3
"""A campaign over three virtual MTAs and a hundred domains: everybody's counts agree.

    tests/peers/campaign.py BUILD [--full]

Postfix's smtp-source injects through three listeners, each of a <source> with a virtual MTA of
its own; our sink records each message it accepts. 20,000 messages, with --full 100,000. Every
recipient is different, so the sink's record, the accounting and the engine's counters are held
against each other message by message."""
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import PORT, Failure, check, check_equal, test, wait_for
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
        jobs.append(["/usr/sbin/smtp-source", "-s", "2", "-m", str(count), "-d", "-N", "-l",
                     str(SIZE), "-f", f"{vmta}@in.test", "-t", f"-{vmta}@d{domain}.test", "-S",
                     "campaign", f"{world.address(1 + number)}:{PORT}"])
    with ThreadPoolExecutor(SESSIONS) as pool:
        for done in pool.map(lambda job: subprocess.run(job, capture_output=True, text=True,
                                                        timeout=300, check=False), jobs):
            check(done.returncode == 0 and not done.stderr, f"smtp-source: {done.stderr[-500:]}")
    return messages


def check_counts(sent, status):
    traffic = status["traffic"]
    check_equal(traffic["messagesIn"], sent, "messagesIn")
    check_equal(traffic["rcptsIn"], sent, "rcptsIn")
    check_equal(traffic["delivered"], sent, "delivered")
    check_equal((traffic["deferred"], traffic["bounced"]), (0, 0), "deferred, bounced")


def check_sources(world, lines):
    """Each message came from its own virtual MTA's address and name."""
    for number, vmta in enumerate(VMTAS):
        own = [line for line in lines if line.rcpts[0].partition("@")[0].endswith("-" + vmta)]
        seen = {(line.source, line.hello) for line in own}
        check_equal(seen, {(world.address(101 + number), f"{vmta}.example.test")}, vmta)
    check_equal(len({line.rcpts[0].partition("@")[2] for line in lines}), DOMAINS, "domains")


@test("campaign: sink, accounting and counters agree to the message", alone=True,
      needs="smtp-source")
def campaign(world):
    sink, record = start_sink(world)
    engine = world.engine(text=configuration(world, 2, world.address(11)))
    begin = time.monotonic()
    sent = inject(world)
    injected = time.monotonic() - begin
    wait_for(lambda: engine.queued() == 0, lambda: f"{engine.queued()} left", 120)
    seconds = time.monotonic() - begin
    wait_for(lambda: engine.status()["spool"]["recipients"] == 0, "the spool is empty")
    status = engine.status()
    engine.stop()
    sink.end()
    lines = read_record(record)
    rows = engine.csv_rows("acct")
    check_counts(sent, status)
    check_equal(len(lines), sent, "messages at the sink")
    seen = sorted(rcpt for line in lines for rcpt in line.rcpts)
    check_equal(len(set(seen)), sent, "different recipients at the sink")
    check_equal({row["type"] for row in rows}, {"d"}, "types of records")
    check(sorted(row["rcpt"] for row in rows) == seen, "accounting and sink differ")
    check_sources(world, lines)
    for row in rows:
        vmta = row["orig"].partition("@")[0]
        wanted = (vmta, f"{row['rcpt'].partition('@')[2]}/{vmta}",
                  world.address(101 + VMTAS.index(vmta)))
        if (row["vmta"], row["queue"], row["dlvSourceIp"]) != wanted:
            raise Failure(f"{row}, wanted {wanted}")
    world.run.say(f"  {sent} messages, injected in {injected:.1f} s, delivered after "
                  f"{seconds:.1f} s")


if __name__ == "__main__":
    if "--full" in sys.argv:
        sys.argv.remove("--full")
        messages = 100_000
    sys.exit(harness.main(__doc__.splitlines()[0]))
