"""What the end-to-end tests stand on: a world per test, the engine in it, its peers, the runner.

A test is a function with a `World`; its name begins with the row it proves:

    @test("C14 a reply during the body is read and recorded")
    def _(world): …

Every world has addresses of its own in 127.0.0.0/8 and a folder of its own, so tests run side by
side. Every process is ended by its pid. The runner closes with "N passed, N failed"."""
import argparse
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mx import Loop, Mx  # noqa: E402
from names import NameServer  # noqa: E402

PORT = 2525             # of every listener and peer
DNS_PORT = 5353
WAIT_SECONDS = 20       # for what should happen at once; the machine may be busy
START_SECONDS = 30
OCTETS = range(20, 240)  # second octet of a run's addresses

CONFIGURATION = """\
host-name in.example.test
smtp-listener {listener}
control-socket {control}
<spool {work}/spool>
</spool>
workers {workers}
shutdown-timeout 3s
{globals}
<source 127/8>
    always-allow-relaying yes
    process-x-virtual-mta yes
    process-x-job yes
    process-x-envid yes
    default-virtual-mta v1
{source}
</source>
<virtual-mta v1>
    smtp-source-host {net}.101 v1.example.test
</virtual-mta>
<virtual-mta v2>
    smtp-source-host {net}.102 v2.example.test
</virtual-mta>
<domain *>
    retry-after 1s
    retry-recipients-after 1s
    retry-after-dns-error 1s
    connect-timeout 3s
    smtp-greeting-timeout 3s
    default-smtp-port {port}
    prohibited-hosts none
{domain}
</domain>
{routes}
<acct-file {work}/acct.jsonl>
    records d,b,t,tq,r
    record-fields d *,dlvTlsProtocol,dlvTlsCipher
</acct-file>
{extra}
"""


class Failure(Exception):
    """Something is not as the test says it must be."""


def check(condition, text="not so"):
    if not condition:
        raise Failure(text() if callable(text) else text)


def check_equal(seen, wanted, what="value"):
    if seen != wanted:
        raise Failure(f"{what}: {seen!r}, wanted {wanted!r}")


def wait_for(condition, what, seconds=WAIT_SECONDS):
    """Polls until the condition gives something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise Failure(f"after {seconds} s still not: {text}")
        time.sleep(0.01)


# ---- processes ------------------------------------------------------------------------------


class Process:
    """A program of the test; its output goes to a file."""

    def __init__(self, arguments, log, **options):
        self.arguments = [str(one) for one in arguments]
        self.log = Path(log)
        with open(self.log, "ab") as output:
            self.begin = output.tell()  # an earlier process may have written to it
            self.popen = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=subprocess.STDOUT, **options)

    def text(self):
        return self.log.read_bytes()[self.begin:].decode("utf-8", "replace")

    def running(self):
        return self.popen.poll() is None

    def wait(self, seconds=60):
        """The exit code."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{Path(self.arguments[0]).name} did not end within {seconds} s: "
                          f"{self.text()[-2000:]}") from None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def kill(self):
        if self.running():
            self.popen.kill()
            self.popen.wait()

    def end(self, seconds=10):
        self.signal(signal.SIGTERM)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Engine:
    """The engine as a user runs it, with a configuration made of the template's parts.

    globals, source, domain, routes, extra: lines put into the places of that name; `text`: a
    whole configuration instead. prefix: words before the program when it runs, as setpriv's."""

    def __init__(self, world, workers=1, text=None, start=True, preexec=None, prefix=(), **parts):
        self.world, self.workers, self.parts, self.text = world, workers, parts, text
        self.binary = world.build / "engine" / "posthaste"
        self.configuration = world.work / "posthaste.conf"
        self.socket = world.short / "control.sock"
        self.process, self.preexec, self.starts = None, preexec, 0
        self.environment, self.prefix = None, prefix
        (world.work / "spool").mkdir(exist_ok=True)
        self.write()
        if start:
            self.start()

    def configured(self, **changed):
        world = self.world
        parts = {**self.parts, **changed}
        fill = {name: parts.pop(name, "") for name in
                ("globals", "source", "domain", "routes", "extra")}
        if not fill["routes"]:
            fill["routes"] = world.routes()
        listener = parts.pop("listener", f"{world.net}.1:{PORT}")
        assert not parts, f"no such part of the configuration: {parts}"
        return CONFIGURATION.format(work=world.work, net=world.net, port=PORT, listener=listener,
                                    control=self.socket, workers=self.workers, **fill)

    def write(self, **changed):
        self.configuration.write_text(self.text or self.configured(**changed))

    def run(self):
        self.starts += 1
        log = self.world.work / "engine.log"
        self.process = Process([*self.prefix, self.binary, "-c", self.configuration, "run"], log,
                               preexec_fn=self.preexec, env=self.environment)
        self.world.processes.append(self.process)

    def start(self):
        self.run()
        wait_for(self.answers, lambda: "the engine starts: " + self.process.text()[-3000:],
                 START_SECONDS)

    def answers(self):
        if not self.process.running():
            raise Failure(f"the engine ended with {self.process.popen.returncode}: "
                          f"{self.process.text()[-3000:]}")
        try:
            return self.ask("show status")["status"] == "success"
        except (OSError, ValueError):
            return False

    def ask(self, command, queue=None, **more):
        """One request on the control socket; the answer as it is."""
        request = {"command": command, **more}
        if queue is not None:
            request["queue"] = queue
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_SECONDS)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        if not line:
            raise OSError("the control socket closed without an answer")
        return json.loads(line)

    def control(self, command, queue=None, **more):
        answer = self.ask(command, queue, **more)
        if answer["status"] != "success":
            raise Failure(f"{command}: {answer}")
        return answer

    def command(self, *words):
        """The program as a command; (exit code, standard output, standard error)."""
        done = subprocess.run([self.binary, "-c", self.configuration, *map(str, words)],
                              capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout, done.stderr

    def status(self):
        return self.control("show status")

    def queued(self):
        return self.status()["queue"]["rcpts"]

    def wait_empty(self, seconds=WAIT_SECONDS):
        wait_for(lambda: self.queued() == 0, lambda: f"queues are empty: {self.queued()} left",
                 seconds)

    def stop(self, seconds=30):
        """Drains; anything but exit 0 fails the test."""
        if self.process is not None and self.process.running():
            self.process.signal(signal.SIGTERM)
            code = self.process.wait(seconds)
            check(code == 0, lambda: f"the engine did not drain: exit {code}: "
                                     f"{self.process.text()[-3000:]}")

    def kill(self):
        self.process.kill()

    # ---- records ----

    def records(self, *types, name="acct"):
        """Accounting records of all files of that name so far, oldest first."""
        out = []
        for path in sorted(self.world.work.glob(f"{name}*.jsonl"), key=lambda p: p.stat().st_ino):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    out.append(json.loads(line))
                except ValueError:
                    continue  # being written
        return [one for one in out if not types or one["type"] in types]

    def wait_records(self, type, count, seconds=WAIT_SECONDS):
        wait_for(lambda: len(self.records(type)) >= count,
                 lambda: f"{count} records '{type}': {self.records()}", seconds)
        return self.records(type)

    def csv_rows(self, name):
        rows = []
        for path in sorted(self.world.work.glob(f"{name}*.csv")):
            with open(path, newline="", encoding="utf-8", errors="replace") as file:
                rows += list(csv.DictReader(file))
        return rows


# ---- a world --------------------------------------------------------------------------------


class World:
    """Addresses, a folder, processes and peers of one test."""

    def __init__(self, run, number):
        self.run, self.number = run, number
        self.net = f"127.{run.octet}.{1 + number % 250}"
        self.build, self.loop = run.build, run.loop
        self.work = run.folder / f"{number:03}"
        self.work.mkdir(parents=True)
        # A Unix socket's path has 107 bytes at most; a build folder's may have more.
        self.short = run.short / f"{number:03}"
        self.short.mkdir()
        self.processes, self.peers, self.engines = [], [], []
        self.destinations = {}

    def address(self, last):
        return f"{self.net}.{last}"

    @property
    def listener(self):
        return (self.address(1), PORT)

    def mx(self, last=11, domains=(), **options):
        """A receiving host on .last; `domains` go there by smtp-hosts."""
        peer = Mx(self.loop, self.address(last), PORT, **options)
        self.peers.append(peer)
        for domain in domains:
            self.destinations[domain] = f"[{peer.address}]:{PORT}"
        return peer

    def mx_six(self, **options):
        """A receiving host on ::1, which all tests share: the port is this world's own."""
        port = 20000 + (self.run.octet * 97 + self.number) % 10000
        peer = Mx(self.loop, "::1", port, **options)
        self.peers.append(peer)
        return peer

    def route(self, domain, *steps):
        """Hosts of equal preference in a step, steps in order of preference."""
        self.destinations[domain] = ";".join(
            ",".join(f"[{peer.address}]:{peer.port}" for peer in
                     (step if isinstance(step, (list, tuple)) else [step])) for step in steps)

    def routes(self):
        """Where nothing else is said everything goes to the first peer."""
        known = dict(self.destinations)
        if "*" not in known and not known and self.peers and isinstance(self.peers[0], Mx):
            known["*"] = f"[{self.peers[0].address}]:{PORT}"
        return "".join(f"<domain {domain}>\n    smtp-hosts {hosts}\n</domain>\n"
                       for domain, hosts in known.items())

    def names(self, zone, last=53):
        """A name server; `directive` of it goes into globals."""
        server = NameServer(self.loop, self.address(last), DNS_PORT, zone)
        server.directive = f"name-server {server.address}:{DNS_PORT}"
        self.peers.append(server)
        return server

    def engine(self, **options):
        engine = Engine(self, **options)
        self.engines.append(engine)
        return engine

    def start(self, *arguments, **options):
        log = self.work / f"{len(self.processes):02}-{Path(str(arguments[0])).name}.log"
        process = Process(arguments, log, **options)
        self.processes.append(process)
        return process

    def client(self, **options):
        return Client(self.listener, **options)

    def send(self, rcpts="user@a.test", **message):
        """Injects one message; the queue id."""
        with self.client() as client:
            client.hello()
            return client.message(rcpts, **message)

    def close(self):
        for process in reversed(self.processes):
            process.end(5)
        for peer in self.peers:
            peer.close()
        shutil.rmtree(self.short, ignore_errors=True)

    def report(self):
        """What happened, for a failed test."""
        lines = []
        for peer in self.peers:
            if isinstance(peer, Mx):
                lines.append(peer.transcript())
            else:
                lines.append(f"  asked: {peer.asked[-20:]}")
        for engine in self.engines:
            lines += ["  records:"] + ["    " + json.dumps(one)
                                       for one in engine.records()[-12:]]
            if engine.process is not None:
                lines.append("  log:\n    " +
                             "\n    ".join(engine.process.text().splitlines()[-25:]))
        return "\n".join(lines)


# ---- an injecting client --------------------------------------------------------------------


class Client:
    """A client that says what the test says, byte by byte if need be."""

    def __init__(self, address, source=None, seconds=WAIT_SECONDS, read_greeting=True):
        self.socket = socket.create_connection(
            address, timeout=seconds, source_address=(source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if read_greeting:
            self.greeting = self.reply()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("utf-8"))

    def reply(self):
        """The whole reply as text, lines split by LF; "" where the connection ended."""
        lines = []
        while True:
            while b"\n" not in self.buffer:
                try:
                    data = self.socket.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    return "\n".join(lines)
                self.buffer += data
            line, self.buffer = self.buffer.split(b"\n", 1)
            lines.append(line.rstrip(b"\r").decode("utf-8", "replace"))
            if lines[-1][3:4] != "-":
                return "\n".join(lines)

    def command(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def expect(self, line, code):
        reply = self.command(line)
        check(reply.startswith(str(code)), f"{line!r}: {reply!r}, wanted {code}")
        return reply

    def hello(self, name="client.example.test"):
        return self.expect(f"EHLO {name}", 250)

    def envelope(self, rcpts, sender="sender@in.test", parameters=""):
        self.expect(f"MAIL FROM:<{sender}>{parameters}", 250)
        for rcpt in [rcpts] if isinstance(rcpts, str) else rcpts:
            self.expect(f"RCPT TO:<{rcpt}>", 250)

    def data(self, content):
        """DATA with these bytes, dots stuffed here; the final reply."""
        self.expect("DATA", 354)
        lines = content.split(b"\r\n")
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
        if not stuffed.endswith(b"\r\n"):
            stuffed += b"\r\n"
        self.send(stuffed + b".\r\n")
        return self.reply()

    def message(self, rcpts, sender="sender@in.test", parameters="", content=None, **options):
        """A whole transaction; the queue id."""
        self.envelope(rcpts, sender, parameters)
        reply = self.data(content if content is not None else make_content(**options))
        found = re.fullmatch(r"250 2\.0\.0 Ok: queued as ([0-9A-Z]{10,20})", reply)
        check(found, f"the message was answered {reply!r}")
        return found.group(1)


def make_content(subject="a test", vmta=None, job=None, body=b"Hello.\r\n", size=0, headers=""):
    head = f"From: sender@in.test\r\nTo: user@a.test\r\nSubject: {subject}\r\n{headers}"
    if vmta:
        head += f"X-Virtual-MTA: {vmta}\r\n"
    if job:
        head += f"X-Job: {job}\r\n"
    content = head.encode("utf-8") + b"\r\n" + body
    line = b"0123456789" * 7 + b"\r\n"
    if size > len(content):
        content += line * ((size - len(content)) // len(line) + 1)
    return content


def body_of(message):
    """Of message bytes, what is behind the header."""
    return message.partition(b"\r\n\r\n")[2]


def header_of(message):
    return message.partition(b"\r\n\r\n")[0] + b"\r\n"


# ---- certificates ---------------------------------------------------------------------------


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificate(folder, name, days=30, subject="mx.example.test", key="rsa:2048", issuer=None):
    """(certificate, key); of an issuer made by this before, or self-signed."""
    certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
    arguments = ["req", "-x509", "-newkey", key, "-nodes", "-keyout", secret, "-out", certificate,
                 "-days", days, "-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}"]
    if issuer is not None:
        arguments += ["-CA", issuer[0], "-CAkey", issuer[1]]
    openssl(*arguments)
    return certificate, secret


def expire(folder, pair):
    """The same certificate, but of years ago."""
    settings, request = folder / "ca.cnf", folder / "expired.csr"
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    settings.write_text(f"[ca]\ndefault_ca = a\n[a]\ndatabase = {folder}/index.txt\n"
                        f"serial = {folder}/serial\nnew_certs_dir = {folder}\n"
                        "default_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n")
    openssl("x509", "-x509toreq", "-in", pair[0], "-signkey", pair[1], "-out", request)
    openssl("ca", "-batch", "-notext", "-selfsign", "-config", settings, "-keyfile", pair[1],
            "-in", request, "-out", pair[0], "-startdate", "20200101000000Z", "-enddate",
            "20200201000000Z")
    return pair


# ---- the runner -----------------------------------------------------------------------------

TESTS = []


def test(name, alone=False, needs=None):
    """Registers a test. alone: not beside others (it weighs on the machine). needs: a program
    that must be installed."""
    def register(function):
        TESTS.append((name, function, alone, needs))
        return function
    return register


class Run:
    def __init__(self, build, keep):
        self.build, self.keep = Path(build).resolve(), keep
        self.loop = Loop()
        self.lock, self.octet = self.take_octet()
        parent = self.build / "peers"
        parent.mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
        self.short = Path(tempfile.mkdtemp(prefix="posthaste-"))
        self.print_lock = threading.Lock()
        self.passed, self.failed = 0, []

    @staticmethod
    def take_octet():
        """Runs at the same time have different addresses: each holds a socket that says so."""
        for octet in sorted(OCTETS, key=lambda one: (one * 7 + os.getpid()) % 251):
            lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                lock.bind((f"127.{octet}.255.254", 9))
                return lock, octet
            except OSError:
                lock.close()
        raise SystemExit("no free addresses in 127.0.0.0/8")

    def say(self, text):
        with self.print_lock:
            print(text, flush=True)

    def one(self, number, name, function):
        begin = time.monotonic()
        world = World(self, number)
        try:
            function(world)
            for engine in world.engines:
                engine.stop()
            error = None
        except Exception:  # noqa: BLE001: whatever a test raises is its failure
            error = traceback.format_exc(limit=-4)
            try:
                error += world.report()
            except Exception:  # noqa: BLE001
                error += "\n  (no report: " + traceback.format_exc(limit=-1) + ")"
        finally:
            world.close()
        seconds = time.monotonic() - begin
        if error is None:
            self.passed += 1
            self.say(f"ok: {name} ({seconds:.1f} s)")
            if not self.keep:
                shutil.rmtree(world.work, ignore_errors=True)
        else:
            self.failed.append(name)
            self.say(f"FAILED: {name} ({seconds:.1f} s, {world.work})\n{error}")

    def close(self):
        shutil.rmtree(self.short, ignore_errors=True)
        if not self.keep and not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()


def chosen_tests(words):
    out = []
    for number, (name, function, alone, needs) in enumerate(TESTS):
        if words and not any(name == word or name.startswith(word + " ") or
                             name.startswith(word + ":") for word in words):
            continue
        if needs is not None and shutil.which(needs, path=os.environ["PATH"] + ":/usr/sbin") is None:
            raise SystemExit(f"{needs} is not installed; tests/run installs it")
        out.append((number, name, function, alone))
    return out


def main(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("build", nargs="?", default="build", help="the build folder")
    parser.add_argument("rows", nargs="*", help="only these rows, as C14")
    parser.add_argument("--jobs", type=int, default=6, help="tests at the same time")
    parser.add_argument("--keep", action="store_true", help="leave the folders")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    tests = chosen_tests(options.rows)
    if options.list:
        print("\n".join(name for _, name, _, _ in tests))
        return 0
    run = Run(options.build, options.keep)
    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            for number, name, function, alone in tests:
                if not alone:
                    pool.submit(run.one, number, name, function)
        for number, name, function, alone in tests:
            if alone:
                run.one(number, name, function)
    finally:
        run.close()
    for name in run.failed:
        print(f"failed: {name}")
    print(f"{run.passed} passed, {len(run.failed)} failed")
    return 1 if run.failed or not run.passed else 0
