"""What bench/run stands on: processes, the engine, the yardstick, results.

Knows no scenario. Python 3, standard library only. Every process started here is ended by its
pid when the `Bench` it belongs to is closed."""

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SINK_ADDRESS = "127.0.0.2:2526"
ENGINE_ADDRESS = "127.0.0.1:2525"
START_SECONDS = 30  # for the engine to answer on its control socket
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

CONFIGURATION = """\
smtp-listener {engine_address}
control-socket {work}/control.sock
<spool {work}/spool>
</spool>
workers {workers}
total-max-smtp-in 15000
<source 127/8>
    always-allow-relaying yes
    process-x-virtual-mta yes
    smtp-service yes
    default-virtual-mta mta1
</source>
<virtual-mta mta1>
    smtp-source-host 127.0.1.1 mta1.example.test
</virtual-mta>
<virtual-mta mta2>
    smtp-source-host 127.0.1.2 mta2.example.test
</virtual-mta>
<domain *>
    smtp-hosts [127.0.0.2]:2526
    max-smtp-out {connections}
    use-starttls {starttls}
    retry-after 10s
    connection-idle-timeout 10s
</domain>
<acct-file {work}/acct.csv>
    records d,b,t
</acct-file>
"""


class BenchError(Exception):
    """Something did not go as a benchmark must; the text says what."""


def parse_totals(text, program):
    """The last "program: key=value …" line as a dictionary of numbers."""
    lines = [line for line in text.splitlines() if line.startswith(program + ": ")]
    if not lines:
        raise BenchError(f"{program} printed no totals: {text.strip()!r}")
    return {key: float(value) for key, value in re.findall(r"(\w+)=([0-9.]+)", lines[-1])}


def parse_rows(text, program):
    """The rows of a micro benchmark ("what  number unit"): (what, unit, number) each."""
    rows = [(what, unit, float(number)) for what, number, unit in
            re.findall(r"^(\S.*?) {2,}([0-9.]+) (\S.*)$", text, re.M)]
    if not rows:
        raise BenchError(f"{program} printed no rows: {text.strip()!r}")
    return rows


class Process:
    """A program under measurement; its output is collected in a file."""

    def __init__(self, arguments, log, cpu=None):
        self.name = Path(arguments[0]).name
        self.log = Path(log)
        self.output = open(self.log, "w+", encoding="utf-8", errors="replace")
        pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
        self.popen = subprocess.Popen(
            [str(a) for a in arguments], stdout=self.output, stderr=subprocess.STDOUT,
            preexec_fn=pin)

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern, seconds=10):
        """The first match of `pattern` in the output so far."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            if self.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise BenchError(f"{self.name} did not print {pattern!r}: {self.text()[-2000:]}")

    def wait(self, seconds, expected=0):
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end within {seconds} s: {self.text()[-2000:]}")
        if code != expected:
            raise BenchError(f"{self.name}: exit {code}: {self.text()[-2000:]}")
        return self.text()

    def stop(self, seconds=60, with_signal=signal.SIGTERM):
        if self.popen.poll() is None:
            self.popen.send_signal(with_signal)
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.output.close()
        return self.text()

    def cpu_us(self):
        """User and system time so far, from /proc/PID/stat (ticks of 10 ms)."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000 // CLOCK_TICKS

    def rss_bytes(self):
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


class Bench:
    """A directory for a run and all that is started in it."""

    def __init__(self, build, work, verbose=False):
        self.build = Path(build)
        self.parent = Path(work)
        self.verbose = verbose
        self.processes = []
        self.count = 0
        self.work = Path(tempfile.mkdtemp(prefix="posthaste-bench-", dir=self.parent))

    def close(self):
        for process in reversed(self.processes):
            process.stop(10)
        shutil.rmtree(self.work, ignore_errors=True)

    def say(self, text):
        if self.verbose:
            print(f"  {text}", flush=True)

    def start(self, *arguments, cpu=None):
        self.count += 1
        log = self.work / f"{self.count:03}-{Path(arguments[0]).name}.log"
        process = Process(arguments, log, cpu)
        self.processes.append(process)
        return process

    def program(self, name):
        path = self.build / "bench" / name
        if not path.exists():
            raise BenchError(f"{path} is not there: ninja -C {self.build} bench/{name}")
        return path

    def start_sink(self, *options, cpu=1, address=SINK_ADDRESS):
        sink = self.start(self.program("sink"), "--listen", address, *options, cpu=cpu)
        sink.wait_for(r"listening on \S+")
        return sink

    def run_load(self, *options, cpu=1, seconds=1800):
        load = self.start(self.program("load"), "--target", ENGINE_ADDRESS, *options, cpu=cpu)
        return parse_totals(load.wait(seconds), "load")

    def yardstick(self, messages, size, connections):
        """The limit of this machine at this moment: sender on core 0, sink on core 1."""
        sink = self.start_sink()
        sender = self.start(self.program("yardstick"), "--target", SINK_ADDRESS, "--messages",
                            messages, "--size", size, "--connections", connections, cpu=0)
        totals = parse_totals(sender.wait(600), "yardstick")
        seen = parse_totals(sink.stop(), "sink")
        if seen["messages"] != messages:
            raise BenchError(f"the sink saw {seen['messages']:.0f} of {messages} messages")
        self.say(f"yardstick {totals['messages_per_s']:,.0f}/s, "
                 f"{totals['cpu_us_per_message']:.1f} µs")
        return totals

    def engine(self, **settings):
        return Engine(self, **settings)


class Engine:
    """The engine with a spool of its own, as a user would run it."""

    def __init__(self, bench, workers=1, connections=64, starttls=False, cpu=None, extra=""):
        self.bench = bench
        self.binary = bench.build / "engine" / "posthaste"
        if not self.binary.exists():
            raise BenchError(f"{self.binary} is not there")
        bench.count += 1
        self.work = bench.work / f"engine-{bench.count:03}"
        (self.work / "spool").mkdir(parents=True)
        self.configuration = self.work / "posthaste.conf"
        self.settings = {"connections": connections, "starttls": "yes" if starttls else "no",
                         "extra": extra}
        self.process = None
        self.start(workers, cpu)

    def start(self, workers, cpu=None):
        text = CONFIGURATION.format(work=self.work, workers=workers,
                                    engine_address=ENGINE_ADDRESS, **self.settings)
        self.configuration.write_text(text + self.settings["extra"] + "\n")
        self.process = self.bench.start(self.binary, "run", "-c", self.configuration, cpu=cpu)
        self.started = time.time()
        end = time.monotonic() + START_SECONDS
        while self.control("show", "status", "--json", check=False) is None:
            if self.process.popen.poll() is not None or time.monotonic() > end:
                raise BenchError(f"the engine does not start: {self.process.text()[-2000:]}")
            time.sleep(0.01)

    def control(self, *words, check=True):
        """One command of the command line; its output, or None if it failed (check: an error)."""
        done = subprocess.run([self.binary, "-c", self.configuration, *words], text=True,
                              capture_output=True, timeout=60)
        if done.returncode == 0:
            return done.stdout
        if check:
            raise BenchError(f"posthaste {' '.join(words)}: exit {done.returncode}: "
                             f"{done.stderr.strip()}")
        return None

    def pause(self):
        self.control("pause", "queue", "*/*")

    def resume(self):
        self.control("resume", "queue", "*/*")

    def status(self):
        return json.loads(self.control("show", "status", "--json"))

    def cpu_us(self):
        return self.process.cpu_us()

    def rss_bytes(self):
        return self.process.rss_bytes()

    def stop(self, with_signal=signal.SIGTERM):
        text = self.process.stop(60, with_signal)
        code = self.process.popen.returncode
        if with_signal == signal.SIGTERM and code != 0:
            raise BenchError(f"the engine did not drain: exit {code}: {text[-2000:]}")

    def remove(self):
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)


# ---- results --------------------------------------------------------------------------------


def spread(values, digits=0):
    """median (lowest..highest)"""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, " \
        f"Linux {platform.release()}"


def commit(root):
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], text=True,
                          capture_output=True).stdout.strip() or "unknown"
    # The table itself is what a run changes.
    dirty = subprocess.run([*git, "status", "--porcelain", "-uno", "--", ":/",
                            ":/!bench/results.md"], text=True, capture_output=True).stdout.strip()
    return head + (" with changes" if dirty else "")


def section(name, rows, root, command):
    """A section of results.md: what was measured, on what, and how to repeat it."""
    lines = [f"## {name}", "", f"{time.strftime('%Y-%m-%d')}, {machine()}, commit {commit(root)}.",
             f"`{command}`", "", "| what | median (lowest..highest) |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    return "\n".join(lines) + "\n"


def write_section(path, name, text):
    """Puts the section in the place of the one of that name, or at the end."""
    path = Path(path)
    old = path.read_text() if path.exists() else "# Results\n"
    pattern = re.compile(rf"^## {re.escape(name)}$.*?(?=^## |\Z)", re.M | re.S)
    if pattern.search(old):
        new = pattern.sub(lambda _: text + "\n", old)
    else:
        new = old.rstrip("\n") + "\n\n" + text
    path.write_text(new.rstrip("\n") + "\n")
