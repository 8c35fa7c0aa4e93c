#!/usr/bin/env python3
"""Accounting pipes: what reaches a program when programs and engines die.

    tests/peers/policy_pipes.py BUILD [NAME…]"""
import os
import sys

from harness import check, check_equal, main, test, wait_for


def pipe(world, script, *lines):
    """An <acct-file> whose program is this shell script; D is the world's folder."""
    path = world.work / "feed.sh"
    path.write_text(f"D={world.work}\n{script}\n")
    return f'<acct-file "|/bin/sh {path}">\n    records d\n    record-fields d rcpt\n' \
        + "".join(f"    {line}\n" for line in lines) + "</acct-file>\n"


def lives(world):
    """What each program has dealt with, oldest first: lists of recipients."""
    out = []
    path = world.work / "out"
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        if line == "type,rcpt":
            out.append([])
        else:
            kind, rcpt = line.split(",")
            check_equal(kind, "d", "type of the record")
            out[-1].append(rcpt)
    return out


def check_lives(world, engine):
    """Every delivery, in order; a program begins at or before where those before it came to."""
    order = [one["rcpt"] for one in engine.records("d")]
    reached = 0
    for number, life in enumerate(lives(world)):
        begin = order.index(life[0]) if life else reached
        check(begin <= reached, f"program {number} begins at {begin}, {reached} were there")
        check_equal(life, order[begin:begin + len(life)], f"records of program {number}")
        reached = max(reached, begin + len(life))
    check_equal(reached, len(order), "records that arrived")


def arrived(world):
    return {rcpt for life in lives(world) for rcpt in life}


def send(world, first, count):
    for number in range(first, first + count):
        world.send(f"{number}@a.test")


COPY = "sed -u 's/\\r$//' >> $D/out"
LINES = "while read -r line; do\n    {stop}\n    echo \"$line\" | tr -d '\\r' >> $D/out\n" \
    "    n=$((n + 1))\ndone"


# effect: acct-file retry-interval
@test("pipe: a program that dies after some records, and kill -9 of the engine in the middle")
def dies(world):
    world.mx()
    engine = world.engine(extra=pipe(world, LINES.format(stop="[ \"$n\" = 6 ] && exit 1"),
                                     "retry-interval 100ms"))
    send(world, 0, 12)
    wait_for(lambda: len(arrived(world)) >= 7, lambda: f"records arrive: {lives(world)}")
    send(world, 12, 6)
    engine.kill()
    engine.start()
    send(world, 18, 6)
    engine.wait_records("d", 24)
    wait_for(lambda: len(arrived(world)) >= 24, lambda: f"all arrive: {lives(world)}")
    engine.stop()
    check_lives(world, engine)
    check("ended with status 1" in engine.process.text(), "the log says so")


@test("pipe: kill -9 of the engine alone, again and again")
def engine_dies(world):
    world.mx()
    engine = world.engine(extra=pipe(world, COPY))
    for first in range(0, 40, 10):
        send(world, first, 10)
        engine.kill()
        engine.start()
    engine.wait_records("d", 40)
    wait_for(lambda: len(arrived(world)) >= 40, lambda: f"all arrive: {lives(world)}")
    engine.stop()
    check_lives(world, engine)


# effect: acct-file write-timeout
@test("pipe: a program that stops reading is killed, mail goes on, nothing is lost")
def hangs(world):
    mx = world.mx()
    hang = "[ \"$n\" = 3 ] && [ ! -e $D/hung ] && echo $$ > $D/hung && exec sleep 1000"
    engine = world.engine(extra=pipe(world, LINES.format(stop=hang), "retry-interval 100ms",
                                     "write-timeout 1s"))
    send(world, 0, 5)
    hung = world.work / "hung"
    wait_for(hung.exists, "the program hangs")
    send(world, 5, 5)
    wait_for(lambda: len(mx.messages) == 10, "mail is delivered meanwhile")
    wait_for(lambda: len(arrived(world)) >= 10, lambda: f"all arrive: {lives(world)}")
    check(not os.path.exists(f"/proc/{hung.read_text().strip()}"), "the first one is gone")
    engine.stop()
    check_lives(world, engine)
    check("it does not read: killed" in engine.process.text(), "the log says so")


@test("pipe: at the end and when it leaves with a reload, the program reads all and ends")
def ends(world):
    world.mx()
    block = pipe(world, COPY + "\necho $# \"$@\" >> $D/ended").replace(
        "feed.sh", 'feed.sh one \\"two three\\" >x')
    engine = world.engine(extra=block)
    send(world, 0, 3)
    engine.wait_records("d", 3)
    ended = world.work / "ended"
    engine.write(extra="")
    engine.control("reload")
    wait_for(ended.exists, "the program ends")
    send(world, 3, 3)
    engine.wait_records("d", 6)
    engine.write(extra=block)
    engine.control("reload")
    wait_for(lambda: len(lives(world)) == 2, lambda: f"another begins: {lives(world)}")
    send(world, 6, 3)
    engine.wait_records("d", 9)
    engine.stop()
    check_lives(world, engine)
    check_equal(ended.read_text(), "3 one two three >x\n" * 2, "arguments, as no shell saw them")
    check_equal(len(lives(world)), 2, "programs")


@test("pipe: what it complains of is in the log; it has no file of ours open")
def complains(world):
    world.mx()
    engine = world.engine(extra=pipe(world, "echo no such table >&2\nreadlink /proc/$$/fd/* > $D/fds\n"
                                     + COPY))
    send(world, 0, 1)
    wait_for(lambda: arrived(world), "the record arrives")
    engine.stop()
    check("says: no such table" in engine.process.text(), engine.process.text()[-2000:])
    files = (world.work / "fds").read_text().split("\n")
    check(not [one for one in files if "socket" in one or "io_uring" in one or "spool" in one],
          f"descriptors: {files}")
    check(len([one for one in files if one.startswith("pipe:")]) == 2, f"descriptors: {files}")


@test("pipe: check tells what means nothing to a pipe, and refuses what is no program")
def checks(world):
    world.mx()
    engine = world.engine(start=False, extra=pipe(world, COPY, "max-size 2m", "move-interval 1h")
                          .replace("feed.sh", "feed.sh > x"))
    code, _, errors = engine.command("check")
    check_equal(code, 0, "exit code: " + errors)
    for word in ("max-size means nothing to a pipe", "move-interval means nothing to a pipe",
                 "'>' is an argument like any other"):
        check(word in errors, f"{word}: {errors}")
    for command, word in (("|feed --now", "whole path"), ("|", "write a path"),
                          ('|/bin/feed \\"a', "quote")):
        engine.write(extra=f'<acct-file "{command}">\n</acct-file>\n')
        code, _, errors = engine.command("check")
        check(code == 78 and word in errors, f"{command}: {code} {errors}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
