#!/usr/bin/env python3
"""Deliveries that are not SMTP, seen in the records and at the sink: a test for each.

    tests/peers/policy_local.py BUILD [NAME…]"""
import fcntl
import os
import re
import signal
import sys
import time
from collections import Counter

from harness import check, check_equal, main, test, wait_for


def domain(name, *lines):
    return f"<domain {name}>\n" + "".join(f"    {line}\n" for line in lines) + "</domain>\n"


# effect: domain type
@test("type discard: nothing reaches the sink, records say delivered by discard")
def discard(world):
    mx = world.mx()
    engine = world.engine(extra=domain("void.test", "type discard"))
    for i in range(5):
        world.send([f"{i}a@void.test", f"{i}b@void.test"])
    world.send("u@a.test")
    records = engine.wait_records("d", 11)
    engine.wait_empty()
    gone = [one for one in records if one["rcpt"].endswith("@void.test")]
    check_equal(sorted(one["rcpt"] for one in gone),
                sorted(f"{i}{x}@void.test" for i in range(5) for x in "ab"), "recipients")
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in gone}, {("discard", "2.0.0")},
                "dlvType and dsnStatus")
    check_equal([one.accepted_rcpts for one in mx.messages], [["u@a.test"]], "at the sink")
    check_equal([one["dlvType"] for one in records if one not in gone], ["smtp"], "of the other")


# effect: domain discard-as-bounce
@test("discard-as-bounce: what is discarded is recorded as bounced")
def discard_as_bounce(world):
    mx = world.mx()
    engine = world.engine(extra=domain("void.test", "type discard", "discard-as-bounce yes"))
    world.send(["u0@void.test", "u1@void.test"])
    records = engine.wait_records("b", 2)
    engine.wait_empty()
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in records},
                {("discard", "5.0.0")}, "dlvType and dsnStatus")
    check_equal((len(engine.records("d")), len(mx.messages)), (0, 0), "delivered, at the sink")


@test("type discard: max-msg-rate holds for it")
def discard_rate(world):
    world.mx()
    engine = world.engine(extra=domain("void.test", "type discard", "max-msg-rate 2/h"))
    for i in range(4):
        world.send(f"u{i}@void.test")
    world.send("last@a.test")  # had they been free, they would be gone before this one
    records = engine.wait_records("d", 3)
    check_equal(Counter(one["dlvType"] for one in records), {"discard": 2, "smtp": 1}, "dlvType")


@test("type discard: a reload that brings it ends what connections would carry")
def discard_after_reload(world):
    mx = world.mx()
    quiet = "connection-idle-timeout 1m"
    engine = world.engine(extra=domain("a.test", quiet))
    world.send("u0@a.test")
    engine.wait_records("d", 1)
    engine.write(extra=domain("a.test", quiet, "type discard"))
    engine.control("reload")
    world.send("u1@a.test")
    records = engine.wait_records("d", 2)
    check_equal([one["dlvType"] for one in records], ["smtp", "discard"], "dlvType")
    check_equal(len(mx.messages), 1, "messages at the sink")


MESSAGE = b"Subject: x\r\n\r\nFrom me\r\n>From you\r\n.dot\r\n"
AS_FILE = "Subject: x\n\nFrom me\n>From you\n.dot\n"
HEAD = "add-received-header no"


def folder(world, name="out"):
    path = world.work / name
    path.mkdir()
    return path


def without_hidden(path):
    return sorted(one for one in path.iterdir() if not one.name.startswith("."))


def text_of(path):
    with open(path, newline="") as file:
        return file.read()


# effect: domain type
# effect: domain file-destination
@test("type file: each message becomes a file, delivered when it is there")
def new_files(world):
    mx, out = world.mx(), folder(world)
    engine = world.engine(source=HEAD,
                          extra=domain("file.test", "type file", f"file-destination {out}"))
    for _ in range(30):
        world.send(["a@file.test", "b@file.test"], content=MESSAGE)
    records = engine.wait_records("d", 60)
    engine.wait_empty()
    files = without_hidden(out)
    check_equal((len(files), {text_of(one) for one in files}), (30, {AS_FILE}), "files")
    check_equal(list(out.iterdir()) and len(list(out.iterdir())), 30, "names with hidden ones")
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in records}, {("file", "2.0.0")},
                "dlvType and dsnStatus")
    told = {one["dsnDiag"].rsplit("/", 1)[1] for one in records}
    check_equal(told, {one.name for one in files}, "names in the records")
    check_equal(len(mx.messages), 0, "messages at the sink")


@test("type file: a message of many windows is whole, an empty one is an empty file")
def large_and_empty(world):
    out = folder(world)
    world.mx()
    engine = world.engine(source=HEAD,
                          extra=domain("file.test", "type file", f"file-destination {out}"))
    large = b"Subject: x\r\n\r\n" + b"".join(b"%070d\r\n" % i for i in range(20000))
    world.send("a@file.test", content=large)
    engine.wait_records("d", 1)
    check_equal([text_of(one) for one in without_hidden(out)],
                [large.decode().replace("\r\n", "\n")], "the file")


# effect: domain file-format
@test("file-format newfile-pickup: the envelope stands before the message")
def pickup_files(world):
    out = folder(world)
    world.mx()
    engine = world.engine(source=HEAD,
                          extra=domain("file.test", "type file", "file-format newfile-pickup",
                                       f"file-destination {out}"))
    world.send(["a@file.test", "b@file.test"], content=MESSAGE)
    engine.wait_records("d", 2)
    envelope = "x-sender: sender@in.test\nx-receiver: a@file.test\nx-receiver: b@file.test\n"
    check_equal([text_of(one) for one in without_hidden(out)], [envelope + AS_FILE], "the file")


@test("file-format newfile-pickup: no line of the message passes for a line of its envelope")
def pickup_files_smuggling(world):
    out = folder(world)
    world.mx()
    engine = world.engine(source=HEAD,
                          extra=domain("file.test", "type file", "file-format newfile-pickup",
                                       f"file-destination {out}"))
    world.send("a@file.test", content=b"X-Receiver: evil@a.test\r\n" + MESSAGE)
    engine.wait_records("d", 1)
    lines = text_of(without_hidden(out)[0]).split("\n")
    check_equal(lines[:4], ["x-sender: sender@in.test", "x-receiver: a@file.test",
                            "x-envelope-end: yes", "X-Receiver: evil@a.test"], "first lines")


@test("file-format append-mbox: messages follow one another, From lines are quoted")
def mailbox(world):
    out = folder(world)
    world.mx()
    engine = world.engine(source=HEAD, workers=2,
                          extra=domain("file.test", "type file", "file-format append-mbox",
                                       f"file-destination {out}/mbox"))
    for _ in range(20):
        world.send(["a@file.test"], content=MESSAGE)
    world.send(["a@file.test"], content=MESSAGE, sender="")
    engine.wait_records("d", 21)
    pattern = r"^From (\S+) (\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\n"
    _, *parts = re.split(pattern, text_of(out / "mbox"), flags=re.M)
    check_equal(Counter(parts[0::3]), {"sender@in.test": 20, "MAILER-DAEMON": 1}, "senders")
    check_equal(set(parts[2::3]), {"Subject: x\n\n>From me\n>>From you\n.dot\n\n"}, "texts")


@test("file-format append-mbox: another program's lock is waited for")
def mailbox_lock(world):
    out = folder(world)
    world.mx()
    engine = world.engine(extra=domain("file.test", "type file", "file-format append-mbox",
                                       f"file-destination {out}/mbox"))
    with open(out / "mbox", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        world.send("a@file.test")
        time.sleep(0.3)
        check_equal((file.seek(0, 2), len(engine.records("d"))), (0, 0), "size, delivered")
        fcntl.lockf(file, fcntl.LOCK_UN)
    engine.wait_records("d", 1)


@test("type file: a missing directory is warned about, defers, and mail comes when it is there")
def no_directory(world):
    world.mx()
    out = world.work / "out"
    engine = world.engine(extra=domain("file.test", "type file", f"file-destination {out}"))
    code, _, said = engine.command("check")
    check(f"no directory {out}" in said, said)
    check_equal(code, 0, "exit code of check")
    world.send("a@file.test")
    record = engine.wait_records("t", 1)[0]
    check_equal((record["dsnStatus"][:5], record["dlvType"]), ("4.3.0", "file"), "status, type")
    check(record["dsnDiag"].endswith(f"cannot write to {out}: No such file or directory"),
          record["dsnDiag"])
    out.mkdir()
    engine.wait_records("d", 1)
    check_equal(len(without_hidden(out)), 1, "files")
    check("no directory" not in engine.command("check")[2], "check after it was made")


@test("type file: max-smtp-out does not hold for it, pauses do")
def file_limits(world):
    out = folder(world)
    world.mx()
    engine = world.engine(extra=domain("file.test", "type file", f"file-destination {out}",
                                       "max-smtp-out 0"))
    engine.control("pause queue", "file.test/*")
    world.send("a@file.test")
    time.sleep(0.3)
    check_equal(len(without_hidden(out)), 0, "files while it is paused")
    engine.control("resume queue", "file.test/*")
    engine.wait_records("d", 1)


@test("type file: what is being written ends before the engine does, and a kill loses nothing")
def file_restart(world):
    out = folder(world)
    world.mx()
    engine = world.engine(workers=2,
                          extra=domain("file.test", "type file", f"file-destination {out}"))
    for i in range(40):
        world.send(f"u{i}@file.test")
    engine.stop()
    check_equal({one.name[0] for one in out.iterdir()} - set("0123456789"), set(), "left overs")
    check_equal(len(engine.records("d")), len(list(out.iterdir())), "files and records")
    engine.start()
    engine.wait_records("d", 40)
    for i in range(40, 80):
        world.send(f"u{i}@file.test")
    engine.kill()
    engine.start()
    wait_for(lambda: len({one["rcpt"] for one in engine.records("d")}) == 80,
             "every recipient is delivered")
    check(len(without_hidden(out)) >= 80, "a file for each")


def script(world, text):
    """A program that sees OUT, the folder of this world."""
    path = world.work / "deliver"
    path.write_text(f"#!/bin/sh\nOUT={world.work}\n{text}\n")
    path.chmod(0o755)
    return path


def pipe(command, *lines):
    return domain("pipe.test", "type pipe", f'command "{command}"', *lines)


# effect: domain type
# effect: domain command
@test("type pipe: the command is run for each recipient, with the message and its words")
def pipe_words(world):
    mx = world.mx()
    program = script(world, 'name=$(mktemp $OUT/got-XXXXXX); '
                            'for i in "$@"; do echo "$i"; done >$name; cat >>$name')
    engine = world.engine(source=HEAD,
                          extra=pipe(f"{program} -f $from \\\"a $user\\\" --at=${{domain}} $to"))
    hostile = '"x; touch $(pwd)/no `id`"@Pipe.test'
    world.send(["a@Pipe.test", hostile], content=MESSAGE)
    records = engine.wait_records("d", 2)
    engine.wait_empty()
    got = sorted(text_of(one) for one in world.work.glob("got-*"))
    wanted = [f"-f\nsender@in.test\na {user}\n--at=pipe.test\n{user}@pipe.test\n" + AS_FILE
              for user in ('"x; touch $(pwd)/no `id`"', "a")]
    check_equal(got, wanted, "words and message")
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in records}, {("pipe", "2.0.0")},
                "dlvType and dsnStatus")
    check_equal(len(mx.messages), 0, "messages at the sink")


# effect: domain macro-variables-preserve-case
@test("macro-variables-preserve-case: an address keeps its case, else it is lower case")
def pipe_case(world):
    world.mx()
    program = script(world, 'echo "$1" "$2"')
    words = f"{program} $user $from"
    engine = world.engine(extra=pipe(words, "macro-variables-preserve-case yes") +
                          domain("low.test", "type pipe", f'command "{words}"'))
    world.send(["Bob@pipe.test", "Bob@low.test"], sender="Me@in.test")
    records = {one["rcpt"]: one["dsnDiag"] for one in engine.wait_records("d", 2)}
    check(records["Bob@pipe.test"].endswith(" Bob Me@in.test"), records)
    check(records["Bob@low.test"].endswith(" bob me@in.test"), records)


@test("type pipe: what the exit code means, and what the command says, is in the record")
def pipe_codes(world):
    world.mx()
    program = script(world, 'echo "this is $1"; echo ". and more" >&2; exit $1')
    engine = world.engine(extra=pipe(f"{program} $user", "retry-after 1h"))
    codes = {0: ("d", "2.0.0"), 65: ("b", "5.6.0"), 67: ("b", "5.1.1"), 68: ("b", "5.1.2"),
             69: ("b", "5.3.0"), 77: ("b", "5.7.0"), 75: ("t", "4.3.0"), 64: ("t", "4.3.0"),
             1: ("t", "4.3.0")}
    world.send([f"{code}@pipe.test" for code in codes])
    wait_for(lambda: len(engine.records("d", "b", "t")) >= len(codes), "all have records")
    seen = {int(one["rcpt"].split("@")[0]): (one["type"], one["dsnStatus"][:5])
            for one in engine.records("d", "b", "t")}
    check_equal(seen, codes, "type and dsnStatus by exit code")
    for one in engine.records("d", "b", "t"):
        check(f"this is {one['rcpt'].split('@')[0]} . and more" in one["dsnDiag"], one["dsnDiag"])


@test("type pipe: a command that is not there, a signal, or too long a time defer")
def pipe_trouble(world):
    world.mx()
    program = script(world, 'case $1 in slow) sleep 60;; *) kill -KILL $$;; esac')
    engine = world.engine(extra=pipe(f"{program} $user", "smtp-data-termination-timeout 1s") +
                          domain("none.test", "type pipe", "command /nowhere/at/all"))
    world.send(["slow@pipe.test", "signal@pipe.test", "u@none.test"])
    engine.wait_records("t", 3)
    diags = {one["rcpt"]: one["dsnDiag"] for one in engine.records("t")}
    check("too long" in diags["slow@pipe.test"], diags)
    check("signal 9" in diags["signal@pipe.test"], diags)
    check("No such file or directory" in diags["u@none.test"], diags)


@test("type pipe: eight commands run at once, and the end of the engine kills them")
def pipe_bounds(world):
    world.mx()
    program = script(world, 'echo $$ >>$OUT/running; sleep 60')
    engine = world.engine(workers=2, extra=pipe(f"{program}", "max-rcpt-per-message 1",
                                                "max-smtp-out 1"))
    running = world.work / "running"
    for i in range(12):
        world.send(f"u{i}@pipe.test")
    wait_for(lambda: running.exists() and len(running.read_text().split()) >= 8, "eight run")
    time.sleep(0.3)
    pids = [int(one) for one in running.read_text().split()]
    check_equal(len(pids), 8, "commands at once")
    world.send("u@a.test")
    engine.wait_records("d", 1)  # other mail goes on
    begin = time.monotonic()
    engine.process.signal(signal.SIGTERM)
    engine.process.signal(signal.SIGTERM)
    engine.process.wait(30)
    check(time.monotonic() - begin < 20, "they were waited for")
    check_equal([pid for pid in pids if os.path.exists(f"/proc/{pid}")], [], "still there")


@test("type pipe: no address becomes an option, and a wrong command is an error of check")
def pipe_options(world):
    world.mx()
    program = script(world, "exit 0")
    engine = world.engine(extra=pipe(f"{program} $to"))
    world.send(["-rf@pipe.test"])
    record = engine.wait_records("b", 1)[0]
    check("begins with '-'" in record["dsnDiag"], record)
    engine.write(extra=pipe(f"{program} $nobody"))
    code, _, said = engine.command("check")
    check(code != 0 and "no macro begins '$nobody'" in said, said)


class Pickup:
    """The two directories, and files put into the first one as a careful program does."""

    def __init__(self, world):
        self.path, self.bad = folder(world, "pickup"), folder(world, "bad")
        self.directive = f"pickup {self.path} {self.bad}"
        self.count = 0

    def put(self, text, name=None, old=True):
        self.count += 1
        name = name or f"m{self.count}"
        hidden = self.path / f".{name}"
        hidden.write_bytes(text if isinstance(text, bytes) else text.encode())
        if old:
            os.utime(hidden, (1, 1))
        hidden.rename(self.path / name)

    def names(self):
        return sorted(one.name for one in self.path.iterdir())

    def bad_names(self):
        return sorted(one.name for one in self.bad.iterdir())


ENVELOPE = "x-sender: sender@in.test\nx-receiver: a@a.test\n"


# effect: global pickup
@test("pickup: a file becomes a message as a client's would, and is removed")
def pickup(world):
    mx, put = world.mx(), Pickup(world)
    engine = world.engine(globals=put.directive)
    put.put("X-Sender: <sender@in.test>\r\nx-receiver: a@a.test\r\nX-RECEIVER: <b@b.test>\r\n"
            "Subject: x\r\n\r\n.dot\r\nlast")
    put.put(ENVELOPE + "Subject: y\n\nx-receiver: evil@a.test\n")
    put.put("x-sender:\nx-receiver: c@a.test\nx-envelope-end: yes\nx-receiver: evil@a.test\n\ny\n")
    records = engine.wait_records("d", 4)
    engine.wait_empty()
    check_equal((put.names(), put.bad_names()), ([], []), "left in the directories")
    check_equal(sorted(one["rcpt"] for one in records),
                ["a@a.test", "a@a.test", "b@b.test", "c@a.test"], "recipients")
    received = {(one.sender, rcpt): one.data for one in mx.messages
                for rcpt in one.accepted_rcpts}
    first = received["sender@in.test", "b@b.test"]
    check(first.startswith(b"Received: by "), first)
    check(first.endswith(b"Subject: x\r\n\r\n.dot\r\nlast\r\n"), first)
    check(received["", "c@a.test"].endswith(b"\nx-receiver: evil@a.test\r\n\r\ny\r\n"), received)
    got = engine.records("r")
    check_equal({(one["srcType"], one.get("srcMta")) for one in got}, {("pickup", None)},
                "of r")
    check_equal({one["srcType"] for one in records}, {"pickup"}, "srcType of d")


@test("pickup: what is being written waits, and what is no file")
def pickup_waits(world):
    world.mx()
    put = Pickup(world)
    engine = world.engine(globals=put.directive)
    text = ENVELOPE + "\nx\n"
    for name in ("#a", "b.tmp"):
        put.put(text, name)
    (put.path / ".c").write_text(text)
    (put.path / "folder").mkdir()
    (world.work / "other").write_text(text)
    (put.path / "link").symlink_to(world.work / "other")
    begin = time.monotonic()
    put.put(text, "new", old=False)
    engine.wait_records("d", 1)
    check(time.monotonic() - begin > 0.9, "a file of this second was taken")
    time.sleep(1.2)
    check_equal(put.names(), ["#a", ".c", "b.tmp", "folder", "link"], "left")
    check_equal(len(engine.records("d")), 1, "messages")


@test("pickup: what never can be a message is moved away, and the log says why")
def pickup_bad(world):
    world.mx()
    put = Pickup(world)
    engine = world.engine(globals=put.directive)
    (put.bad / "same").write_text("was there")
    wrong = {"none": ("Subject: x\n\n", "does not begin with x-sender"),
             "empty": ("", "does not begin with x-sender"),
             "same": ("x-receiver: a@a.test\n\nx\n", "does not begin with x-sender"),
             "address": ("x-sender: a@in.test\nx-receiver: a@b c@d\n\nx\n", "RCPT TO"),
             "inject": ("x-sender: a@in.test\nx-receiver: a@a.test> NOTIFY=NEVER\n\nx\n",
                        "no address"),
             "cr": (ENVELOPE + "\na\rb\n", "Bare CR"), "nul": (ENVELOPE + "\na\0b\n", "NUL"),
             "vmta": (ENVELOPE + "x-virtual-mta: \n\nx\n", None)}
    for name, (text, _) in wrong.items():
        put.put(text, name)
    engine.wait_records("d", 1)  # the last of them is right: the header is only removed
    wait_for(lambda: not put.names(), lambda: f"all are gone: {put.names()}")
    check_equal(put.bad_names(), sorted([*(set(wrong) - {"vmta"}), "same.1"]), "moved away")
    check_equal((put.bad / "same").read_text(), "was there", "what was there")
    for name, (_, why) in wrong.items():
        if why is not None:
            check(any(f"/{name}: " in line and why in line
                      for line in engine.process.text().splitlines()), f"{name}: {why}")


# effect: global pickup-remove-dot
@test("pickup-remove-dot: doubled dots become one, and a last line of one dot the end")
def pickup_dots(world):
    mx, put = world.mx(), Pickup(world)
    engine = world.engine(globals=f"{put.directive}\npickup-remove-dot yes")
    put.put(ENVELOPE + "Subject: x\n\n..a\n.\nb\n.\n")
    engine.wait_records("d", 1)
    content = mx.messages[0].data
    check(content.endswith(b"\r\n\r\n.a\r\n\r\nb\r\n"), content)


@test("pickup: <source {pickup}> holds, and refusals for now leave the file")
def pickup_source(world):
    mx, put = world.mx(), Pickup(world)
    source = "<source {pickup}>\n    max-message-size 2000b\n    process-x-job yes\n</source>\n"
    engine = world.engine(globals=put.directive, extra=source)
    put.put(ENVELOPE + "X-Job: j1\nSubject: x\n\nx\n")
    put.put(ENVELOPE + "\n" + "x" * 900 + "\n" + "y" * 990 + "\n" + "z" * 990 + "\n", "large")
    record = engine.wait_records("d", 1)[0]
    check_equal(record["jobId"], "j1", "job")
    wait_for(lambda: put.bad_names() == ["large"], "the large one is moved away")
    check_equal(len(mx.messages), 1, "messages")


@test("pickup: a restart in the middle loses nothing")
def pickup_restart(world):
    world.mx()
    put = Pickup(world)
    engine = world.engine(globals=put.directive, workers=2)
    for i in range(300):
        put.put(f"x-sender: s@in.test\nx-receiver: u{i}@a.test\n\nx\n")
    wait_for(lambda: len(put.names()) < 280, "some are taken")
    engine.stop()
    left = len(put.names())
    taken = len(engine.records("r"))
    check_equal(taken + left, 300, "taken and left after a drain")
    engine.start()
    wait_for(lambda: len(put.names()) < left, "it goes on")
    engine.kill()
    engine.start()
    wait_for(lambda: len({one["rcpt"] for one in engine.records("d")}) == 300,
             "every recipient is delivered")
    wait_for(lambda: not put.names(), "no file is left")
    again = len(engine.records("r")) - 300  # a kill may cost an "r" of its last moment, too
    check(again <= 1, f"taken twice after a kill: {again}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
