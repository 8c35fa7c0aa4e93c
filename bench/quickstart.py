"""The campaign of ./quickstart: two virtual MTAs, one sink, a table of what arrived from where.

Exit 0 only if every message arrived, each from its virtual MTA's address and name."""

import argparse
import csv
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from harness import Bench, BenchError, Process  # noqa: E402

CONFIGURATION = """\
# What ./quickstart runs: two virtual MTAs, everything goes to the sink on 127.0.0.2.
host-name mail.example.test
smtp-listener 127.0.0.1:{listen_port}
control-socket {work}/control.sock
<spool {work}/spool>
</spool>

<source 127/8>
    always-allow-relaying yes
    process-x-virtual-mta yes
</source>

<virtual-mta marketing>
    smtp-source-host 127.0.1.1 marketing.example.test
</virtual-mta>
<virtual-mta billing>
    smtp-source-host 127.0.1.2 billing.example.test
</virtual-mta>

<domain *>
    smtp-hosts [127.0.0.2]:{sink_port}
    max-smtp-out 20
    retry-after 5s
</domain>

<acct-file {work}/acct.csv>
    records d,b,t
</acct-file>
"""
NAMES = {"marketing": ("127.0.1.1", "marketing.example.test"),
         "billing": ("127.0.1.2", "billing.example.test")}
LISTEN_PORT, SINK_PORT = 2587, 2588
WAIT_SECONDS = 120


def read_accounting(work):
    """{virtual MTA: {record type: count}} over all accounting files so far."""
    counts = {}
    for path in sorted(work.glob("acct-*.csv")):
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                of_vmta = counts.setdefault(row["vmta"], {})
                of_vmta[row["type"]] = of_vmta.get(row["type"], 0) + 1
    return counts


def read_sink(path):
    """{(source address, EHLO name): messages} as the sink recorded them."""
    seen = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split("\t") if "\t" in line else line.split(" ")
        if len(fields) > 2 and not line.startswith("#"):
            key = (fields[1], fields[2])
            seen[key] = seen.get(key, 0) + 1
    return seen


def wait_for_all(record, messages):
    """Shows progress until the sink has them all; the seconds it took."""
    begin = time.monotonic()
    while True:
        arrived = sum(read_sink(record).values()) if record.exists() else 0
        print(f"\r  {arrived} of {messages} messages have arrived", end="", flush=True)
        if arrived >= messages or time.monotonic() - begin > WAIT_SECONDS:
            print()
            return time.monotonic() - begin
        time.sleep(0.1)


def print_table(seen, accounting, seconds):
    print(f"\n  {'virtual MTA':12} {'source IP':12} {'EHLO name':26} "
          f"{'delivered':>9} {'deferred':>8} {'bounced':>7}")
    for vmta, (address, name) in NAMES.items():
        counts = accounting.get(vmta, {})
        source = next((key for key in seen if key[0] == address), ("-", "-"))
        print(f"  {vmta:12} {source[0]:12} {source[1]:26} {counts.get('d', 0):9} "
              f"{counts.get('t', 0):8} {counts.get('b', 0):7}")
    total = sum(seen.values())
    print(f"\n  {total} messages in {seconds:.1f} s: {total / seconds:,.0f} messages/s\n")


def is_right(seen, messages):
    if sum(seen.values()) != messages:
        print(f"only {sum(seen.values())} of {messages} messages arrived", file=sys.stderr)
        return False
    foreign = [key for key in seen if key not in NAMES.values()]
    if foreign:
        print(f"messages came from {foreign}, which is no virtual MTA", file=sys.stderr)
        return False
    return True


def run(bench, build, messages):
    work = bench.work
    (work / "spool").mkdir()
    configuration = work / "posthaste.conf"
    configuration.write_text(CONFIGURATION.format(work=work, listen_port=LISTEN_PORT,
                                                  sink_port=SINK_PORT))
    record = work / "sink.record"
    sink = bench.start(build / "bench" / "sink", "--listen", f"127.0.0.2:{SINK_PORT}",
                       "--record", record)
    sink.wait_for(r"listening on \S+")
    engine = bench.start(build / "engine" / "posthaste", "run", "-c", configuration)
    wait_for_socket(engine, work / "control.sock")
    print(f"  sending {messages} messages by SMTP to 127.0.0.1:{LISTEN_PORT}")
    begin = time.monotonic()
    load = bench.start(build / "bench" / "load", "--target", f"127.0.0.1:{LISTEN_PORT}",
                       "--messages", messages, "--size", 4096, "--connections", 20,
                       "--domains", 20, "--vmtas", "marketing,billing")
    load.wait(WAIT_SECONDS)
    wait_for_all(record, messages)
    seconds = time.monotonic() - begin
    engine.stop()
    sink.stop()
    seen = read_sink(record)
    print_table(seen, read_accounting(work), seconds)
    return is_right(seen, messages)


def wait_for_socket(engine: Process, path):
    end = time.monotonic() + 30
    while not path.exists():
        if engine.popen.poll() is not None or time.monotonic() > end:
            raise BenchError(f"the engine does not start: {engine.text()[-2000:]}")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(prog="./quickstart")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--keep", action="store_true", help="keep spool, logs and accounting")
    options = parser.parse_args()
    build = Path("build-release")
    parent = Path("build-release/quickstart")
    shutil.rmtree(parent, ignore_errors=True)
    os.makedirs(parent)
    bench = Bench(build, parent.resolve())
    good = False
    try:
        good = run(bench, build, options.messages)
    except BenchError as error:
        print(f"quickstart: {error}", file=sys.stderr)
    for process in reversed(bench.processes):
        process.stop(10)
    if options.keep or not good:
        print(f"  accounting file, spool and logs: {bench.work}")
    else:
        keep = parent / "acct.csv"
        for path in sorted(bench.work.glob("acct-*.csv")):
            shutil.copy(path, keep)
        shutil.rmtree(bench.work, ignore_errors=True)
        print(f"  accounting file: {keep}")
    print("  to run it for real: edit config/minimal.conf, then\n"
          "    build-release/engine/posthaste -c config/minimal.conf run")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
