"""Receivers that others wrote: how to wait for one, where it may write, and Postfix's smtp-sink
with what it dumps of each transaction. What it says of a message is a Line, like one of our own
sink's record: the same checks hold for both."""
import dataclasses
import hashlib
import os
import socket

from harness import PORT, Failure, wait_for

SBIN = "/usr/sbin"
DUMP_BEGIN = "\f\n"  # of a dumped message; no test's message has a form feed


@dataclasses.dataclass
class Line:
    """What a receiver says of a message that it accepted. Times in µs of the wall clock: 0 where
    it does not tell."""
    source: str
    hello: str
    sender: str
    rcpts: list
    digest: str
    time_us: int = 0
    connected_us: int = 0


def wait_listening(address, port, process, seconds=20):
    def listening():
        if not process.running():
            raise Failure(f"{process.arguments[0]} has ended: {process.text()[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0
    wait_for(listening, f"{process.arguments[0]} listens", seconds)


def open_folder(world, name):
    """A folder below /tmp that other users may reach: a build folder may lie where they may not."""
    for folder in (world.short.parent, world.short):
        folder.chmod(0o755)
    folder = world.short / name
    folder.mkdir()
    return folder


def start_smtp_sink(world, last, *options):
    """smtp-sink that dumps each message before it answers; (where to, its process). There is a
    file for each second: with one for each message, removing 100,000 took six minutes."""
    folder = open_folder(world, f"dump{last}")
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    folder.chmod(0o777)
    sink = world.start(f"{SBIN}/smtp-sink", *user, "-D", f"{folder}/%H%M%S",
                       "-S", DUMP_BEGIN, *options, f"{world.address(last)}:{PORT}", "1000")
    wait_listening(world.address(last), PORT, sink)
    world.destinations["*"] = f"[{world.address(last)}]:{PORT}"
    return folder, sink


def body_digest(body):
    """As in our sink's record; of a body with its line ends as on the wire."""
    return hashlib.sha256(body).hexdigest()[:16]


def read_dump(dump):
    """smtp-sink's lines about the transaction, the message with LF as line ends, an empty line."""
    header, _, body = dump.partition(b"\n\n")
    about, _, _ = header.partition(b"\nReceived:")
    said = [line.partition(": ")[::2] for line in about.decode().split("\n")]

    def all_of(name):
        return [value for key, value in said if key == name]

    def addresses(name):
        return [value.partition("<")[2].partition(">")[0] for value in all_of(name)]

    (source,), (hello,), (sender,) = (all_of("X-Client-Addr"), all_of("X-Helo-Args"),
                                      addresses("X-Mail-Args"))
    return Line(source=source, hello=hello, sender=sender, rcpts=addresses("X-Rcpt-Args"),
                digest=body_digest(body[:-1].replace(b"\n", b"\r\n")))


def take_dumps(folder):
    """A Line of each message; the files are gone then, they are large."""
    lines = []
    for path in folder.iterdir():
        lines += [read_dump(dump) for dump in path.read_bytes().split(DUMP_BEGIN.encode())[1:]]
        path.unlink()
    return lines
