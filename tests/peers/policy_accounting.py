#!/usr/bin/env python3
"""What the lines of an <acct-file> do, seen in the files: a test for each.

    tests/peers/policy_accounting.py BUILD [NAME…]"""
import os
import signal
import stat
import sys

from harness import check, check_equal, main, make_content, test, wait_for


def acct_file(world, name, *lines):
    return f"<acct-file {world.work}/{name}.csv>\n" + "".join(f"    {line}\n" for line in lines) \
        + "</acct-file>\n"


def deliver(world, engine, *rcpts, **message):
    """Each to its end; the records that every file could have had are then durable."""
    for rcpt in rcpts:
        world.send(rcpt, **message)
    engine.wait_records("d", len(rcpts))


def column(engine, name, field):
    return sorted(row[field] for row in engine.csv_rows(name))


# effect: acct-file records
# effect: acct-file queue-filter
@test("queue-filter: the first word that fits decides, others are left out")
def queue_filter(world):
    world.mx()
    engine = world.engine(extra=acct_file(
        world, "some", "records d,r", "record-fields d,r rcpt,queue",
        "queue-filter sub.b.test/v1,![*.]b.test/*,*/v1"))
    for rcpt, vmta in [("1@a.test", "v1"), ("2@a.test", "v2"), ("3@b.test", "v1"),
                       ("4@sub.b.test", "v1"), ("5@sub.b.test", "v2"), ("6@xb.test", "v1")]:
        world.send(rcpt, vmta=vmta)
    engine.wait_records("d", 6)
    engine.stop()
    rows = engine.csv_rows("some")
    check_equal(sorted(row["rcpt"] for row in rows if row["type"] == "d"),
                ["1@a.test", "4@sub.b.test", "6@xb.test"], "deliveries recorded")
    check_equal(sum(row["type"] == "r" for row in rows), 6, "receptions, which are of no queue")


# effect: domain disable-acct-records
@test("disable-acct-records: of that domain, in every file")
def disabled(world):
    mx = world.mx()
    engine = world.engine(extra="<domain quiet.test>\n    disable-acct-records d\n</domain>\n"
                          + acct_file(world, "all", "record-fields d,b rcpt"))
    world.send("u@quiet.test")
    wait_for(lambda: mx.messages, "the message arrives")
    engine.wait_empty()
    deliver(world, engine, "u@a.test")
    engine.stop()
    check_equal(column(engine, "all", "rcpt"), ["u@a.test"], "recipients recorded")
    check_equal([one["rcpt"] for one in engine.records("d")], ["u@a.test"], "in the other file")
    check_equal(len(engine.records("r")), 2, "receptions are not disabled")


# effect: acct-file record-fields
# effect: acct-file user-string
# effect: acct-file iso-times
@test("record-fields: columns asked for by name, user-string, iso-times no")
def columns(world):
    world.mx()
    engine = world.engine(extra=acct_file(
        world, "own", "records d",
        "record-fields d rcpt,totalSecondsQueued,userString,timeLogged,bounceClass",
        "user-string node seven", "iso-times no"))
    deliver(world, engine, "u@a.test")
    engine.stop()
    row, = engine.csv_rows("own")
    check_equal(list(row), ["type", "rcpt", "totalSecondsQueued", "userString", "timeLogged",
                            "bounceClass"], "columns")
    check_equal((row["userString"], row["timeLogged"].isdigit(), row["bounceClass"]),
                ("node seven", True, ""), "values")


# effect: acct-file map-header-to-field
# effect: acct-file record-fields
@test("header_X, map-header-to-field: values of the message's headers, also after a restart")
def headers(world):
    mx = world.mx(rcpt="450 4.2.1 later")
    engine = world.engine(domain="retry-after 1s\nretry-recipients-after 1s", extra=acct_file(
        world, "own", "records d,r,t", "record-fields d,t rcpt,header_Subject,envId",
        "record-fields r rcpt", "map-header-to-field d,r header_X-New tag",
        "map-header-to-field d,r header_X-Old tag", "map-header-to-field d header_X-Env envId"))
    world.send("u@a.test", content=make_content(
        subject="of a\r\n folded, \"quoted\" one", headers="X-Old: old\r\nX-Env: mine\r\n"
        "Subject: another\r\nX-Unasked: no\r\n" + "X-New: " + "n" * 2000 + "\r\n"))
    engine.wait_records("t", 1)
    engine.kill()
    mx.script["rcpt"] = ["250 2.1.5 ok"]
    engine.start()
    engine.wait_records("d", 1)
    engine.stop()
    rows = {row["type"]: row for row in engine.csv_rows("own")}
    check_equal(list(rows["d"]), ["type", "rcpt", "header_Subject", "envId", "tag"], "columns")
    check_equal((rows["d"]["header_Subject"], rows["d"]["envId"], rows["d"]["tag"]),
                ('of a folded, "quoted" one', "mine", "n" * 768), "values of a delivery")
    check_equal((rows["r"]["tag"], rows["r"]["header_Subject"], rows["t"]["tag"]),
                ("n" * 768, "", ""), "values elsewhere")


@test("map-header-to-field: what is no such line is refused by check")
def bad_headers(world):
    world.mx()
    for lines, word in [(["map-header-to-field d Subject tag"], "header_X-Name"),
                        (["map-header-to-field tq header_Subject tag"], "of no message"),
                        (["map-header-to-field d header_X a", "map-header-to-field d header_x b"],
                         "'a' already"),
                        (["record-fields d " + ",".join(f"header_{i}" for i in range(33))],
                         "more than 32 headers")]:
        engine = world.engine(start=False, extra=acct_file(world, "bad", *lines))
        code, _, errors = engine.command("check")
        check(code == 78 and word in errors, f"{lines}: {code} {errors}")


# effect: acct-file privacy-policy
@test("privacy-policy: no local part of a recipient in the file, the same word for the same one")
def privacy(world):
    world.mx(rcpt="550 5.1.1 Secret.Person <secret.person@a.test> is unknown, try no.body@b.test")
    key = "0123456789abcdef"
    lines = ["records r,b", "record-fields r *,header_To", "record-fields b *,header_To"]
    policies = {"hashed": f"siphash {key}", "hidden": "redact", "keyed": f"hmac-sha256 {key}"}
    engine = world.engine(extra="".join(acct_file(world, name, *lines, f"privacy-policy {policy}")
                                        for name, policy in policies.items()))
    content = make_content().replace(b"To: user@a.test", b"To: A <Secret.Person@a.test>")
    world.send("Secret.Person@a.test", sender="v-secret.person=a.test@in.test", content=content)
    engine.wait_records("b", 1)
    engine.stop()
    for name in policies:
        for row in engine.csv_rows(name):
            check("secret" not in str(row).lower() and "no.body" not in str(row), str(row))
        received, bounced = engine.csv_rows(name)
        word = bounced["rcpt"].partition("@")[0]
        check_equal(len(word), {"hashed": 16, "hidden": 8, "keyed": 64}[name], "length of the word")
        check_equal(received["rcpt"], f"{word}@a.test", "the recipient")
        check_equal(bounced["orig"], f"v-{word}=a.test@in.test", "the sender")
        check_equal(bounced["header_To"], f"A <{word}@a.test>", "the header")
        check(f"550 5.1.1 {word} <{word}@a.test> is unknown" in bounced["dsnDiag"]
              and bounced["dsnDiag"].endswith("@b.test"), bounced["dsnDiag"])


# effect: acct-file count-moved-records
@test("count-moved-records: the number of records in the names of moved files, CSV and JSON")
def count_moved(world):
    world.mx()
    done = world.work / "done"
    done.mkdir()
    lines = ["records d,r", f"move-to {done}", "count-moved-records yes"]
    engine = world.engine(extra=acct_file(world, "own", *lines)
                          + acct_file(world, "own", *lines).replace("own.csv", "own.jsonl"))
    deliver(world, engine, "1@a.test", "2@a.test", "3@a.test")

    def moved():
        return sorted(path.name.split("-", 4)[-1] for path in done.iterdir())
    check_equal(engine.command("rotate", "acct")[0], 0, "the command")
    wait_for(lambda: len(moved()) == 2, "the files are moved")
    check_equal(moved(), ["0000-6.csv", "0000-6.jsonl"], "names")
    world.send("4@a.test")
    wait_for(lambda: [path.read_bytes().count(b"\n") for path in sorted(world.work.glob("own-*"))]
             == [3, 2], "records in the next files")
    engine.control("rotate acct")
    wait_for(lambda: len(moved()) == 4, "the files are moved")
    check_equal(moved(), ["0000-6.csv", "0000-6.jsonl", "0001-2.csv", "0001-2.jsonl"], "names")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# effect: acct-file world-readable
# effect: global log-file
# effect: global log-file-world-readable
@test("world-readable: the files named so, under any umask")
def world_readable(world):
    world.mx()
    log = world.work / "open.log"
    engine = world.engine(
        globals=f"log-file {log}\nlog-file-world-readable yes",
        extra=acct_file(world, "open", "world-readable yes") + acct_file(world, "closed"),
        preexec=lambda: os.umask(0o077) and None)
    deliver(world, engine, "u@a.test")
    check_equal({name: mode(next(world.work.glob(f"{name}-*.csv"))) for name in ("open", "closed")},
                {"open": 0o644, "closed": 0o600}, "modes of files")
    check_equal(mode(log), 0o644, "mode of the log")
    check("posthaste" in log.read_text(), "the log is written there")
    engine.write(extra=acct_file(world, "open") + acct_file(world, "closed"))
    engine.control("reload")
    engine.process.signal(signal.SIGUSR1)
    wait_for(lambda: len(list(world.work.glob("open-*.csv"))) == 2, "the file is rotated")
    check_equal([mode(path) for path in sorted(world.work.glob("open-*.csv"))], [0o644, 0o600],
                "before and after a reload without it")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
