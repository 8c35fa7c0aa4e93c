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

VMTAS = ("red", "green", "blue")
DOMAINS = 100
SESSIONS = 8      # smtp-source runs at the same time
SIZE = 2000
messages = 20_000

CONFIGURATION = """\
host-name in.example.test
{listeners}
control-socket {control}
spool {work}/spool
workers {workers}
{sources}
{vmtas}
<domain *>
    smtp-hosts [{sink}]:{port}
    max-smtp-out 4
    connection-idle-timeout 1s
    retry-after 1s
    retry-recipients-after 1s
    use-starttls no
</domain>
<acct-file {work}/acct.csv>
    records d,b,t,tq
    max-size 1g
</acct-file>
"""


def configuration(world, workers, sink):
    """Virtual MTA number n: listener .1+n, source address .101+n."""
    listeners, sources, vmtas = "", "", ""
    for number, vmta in enumerate(VMTAS):
        listeners += f"smtp-listener {world.address(1 + number)}:{PORT} source={vmta}-in\n"
        sources += (f"<source {vmta}-in>\nalways-allow-relaying yes\n"
                    f"default-virtual-mta {vmta}\nsmtp-max-connections-per-ip 1000\n</source>\n")
        vmtas += (f"<virtual-mta {vmta}>\nsmtp-source-host {world.address(101 + number)} "
                  f"{vmta}.example.test\n</virtual-mta>\n")
    return CONFIGURATION.format(listeners=listeners, sources=sources, vmtas=vmtas, sink=sink,
                                port=PORT, work=world.work, workers=workers,
                                control=world.short / "control.sock")


def start_sink(world, *options):
    record = world.work / "sink.record"
    sink = world.start(world.build / "bench" / "sink", "--listen", f"{world.address(11)}:{PORT}",
                       "--record", record, *options)
    wait_for(lambda: "listening on" in sink.text(), "the sink listens")
    return sink, record


class Line:
    """A line of the sink's record."""

    def __init__(self, text):
        fields = text.rstrip("\n").split("\t")
        self.time_us, self.source, self.hello = int(fields[0]), fields[1], fields[2]
        self.rcpts = fields[4].split(",")


def read_record(path):
    with open(path, encoding="utf-8") as file:
        return [Line(text) for text in file]


def inject(world):
    """smtp-source, run after run: (virtual MTA, domain) by turns. Recipients are N + name."""
    share, jobs = messages // (len(VMTAS) * DOMAINS), []
    for number, vmta in enumerate(VMTAS):
        for domain in range(DOMAINS):
            rcpt = f"-{vmta}@d{domain}.test"
            jobs.append(["/usr/sbin/smtp-source", "-s", "2", "-m", str(share), "-d", "-N", "-l",
                         str(SIZE), "-f", f"{vmta}@in.test", "-t", rcpt, "-S", "campaign",
                         f"{world.address(1 + number)}:{PORT}"])
    with ThreadPoolExecutor(SESSIONS) as pool:
        for done in pool.map(lambda job: subprocess.run(job, capture_output=True, text=True,
                                                        timeout=300, check=False), jobs):
            check(done.returncode == 0 and not done.stderr, f"smtp-source: {done.stderr[-500:]}")
    return share * len(jobs)


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
