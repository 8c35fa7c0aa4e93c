#!/usr/bin/env python3
"""Commands about what is queued, recipient by recipient, with the engine and its peers.

    tests/peers/queue_commands.py BUILD [NAME…]"""
import asyncio
import fcntl
import json
import socket
import sys
import threading
import time

from harness import check, check_equal, main, test, wait_for
from mx import Delay, Turns

LATER = "retry-recipients-after 1h\nretry-after 1h\n"
LATER_MX = {"rcpt": lambda session, argument: "450 4.2.0 later" if b"later" in argument
            else "250 2.1.5 ok"}


def send_many(world, domain, count, name="later", **options):
    """In messages of 500."""
    for first in range(0, count, 500):
        rcpts = [f"{name}{i}@{domain}" for i in range(first, min(count, first + 500))]
        world.send(rcpts, **options)


def wait_deferred(engine, count):
    def deferred():
        rows = engine.control("show queues")["queues"]
        return sum(row["rcpts"] - row["ready"] for row in rows if row["connections"] == 0) == count
    wait_for(deferred, lambda: f"{count} are deferred: {engine.control('show queues')}", 60)


def list_rows(engine, *words):
    """Rows and the last line of `list --json`."""
    code, out, err = engine.command("list", "--json", "--timeout=30", *words)
    check(code == 0 and err == "", (code, out[-500:], err))
    lines = [json.loads(line) for line in out.splitlines()]
    check(lines[-1]["end"] is True and not any("end" in line for line in lines[:-1]), lines[-1])
    return lines[:-1], lines[-1]


def delete(engine, *words):
    code, out, err = engine.command("delete", "--json", *words)
    check(code == 0 and err == "", (code, out, err))
    return json.loads(out)


@test("list: every recipient that waits, of all workers, once, and those on the wire")
def list_all(world):
    world.mx(**LATER_MX)
    slow = world.mx(12, domains=["slow.test"], final=[Delay(20), "250 taken"])
    world.destinations["*"] = f"[{world.address(11)}]:2525"
    engine = world.engine(workers=2, domain=LATER)
    for place in range(4):
        send_many(world, f"d{place}.test", 1500, job=f"job-{place % 2}")
    wait_deferred(engine, 6000)
    world.send("now@slow.test", vmta="v2", sender="")
    wait_for(lambda: slow.transactions and slow.transactions[0].data_code, "one is on the wire")
    rows, last = list_rows(engine, "--maxitems=10000")
    check_equal(last["rows"], 6001, "rows")
    check_equal(sorted(row["rcpt"] for row in rows),
                sorted([f"later{i}@d{place}.test" for place in range(4) for i in range(1500)] +
                       ["now@slow.test"]), "recipients")
    row = next(row for row in rows if row["rcpt"] == "later7@d3.test")
    check_equal({key: row[key] for key in ("orig", "queue", "state", "jobId", "attempts")},
                {"orig": "sender@in.test", "queue": "d3.test/v1", "state": "deferred",
                 "jobId": "job-1", "attempts": 1}, "row")
    check(3500000 < row["retryInMs"] <= 3600000 and row["ageMs"] < 60000, row)
    row = next(row for row in rows if row["rcpt"] == "now@slow.test")
    check_equal((row["state"], row["queue"], row["orig"]), ("on-the-wire", "slow.test/v2", ""),
                "on the wire")


@test("list: what is given must all match; as many rows as asked for, and said that there are more")
def list_selected(world):
    world.mx()
    engine = world.engine(workers=2)
    engine.control("pause queue", "*/*")
    send_many(world, "a.test", 2000, job="one")
    send_many(world, "b.test", 2000, name="other", job="two", vmta="v2", sender="x@else.test")
    world.send("nobody@a.test", sender="", parameters=" ENVID=Env+2B1")
    for words, count in ((["--queue=a.test/v1"], 2001), (["--queue=*.test/V2"], 2000),
                         (["--queue=a.test"], 0), (["--rcpt=*9@b.test"], 200),
                         (["--rcpt=LATER19?@a.test", "--jobId=one"], 10),
                         (["--jobId=ONE"], 0), (["--jobId=t*", "--queue=a.test/*"], 0),
                         (["--orig=x@ELSE.*"], 2000), (["--orig=<>"], 1),
                         (["--envId=Env+1"], 1), (["--older-than=1h"], 0)):
        rows, last = list_rows(engine, "--maxitems=5000", *words)
        check_equal((len(rows), last["rows"], last["more"]), (count, count, False), words)
    rows, last = list_rows(engine)
    check_equal((len(rows), last["more"]), (1000, True), "by default")
    rows, last = list_rows(engine, "--maxitems=2001", "--queue=a.test/*")
    check_equal((len(rows), last["more"]), (2001, False), "exactly as many")
    code, out, _ = engine.command("list", "--rcpt=later3@*")
    check(code == 0 and out.startswith("later3@a.test  from <sender@in.test>  a.test/v1  ready"),
          out)
    code, out, _ = engine.command("list", "--maxitems=1")
    check(code == 0 and "there are more" in out, out)
    time.sleep(1.1)
    check_equal(list_rows(engine, "--older-than=1s", "--maxitems=9999")[1]["rows"], 4001, "old")


@test("list: mail is delivered while a client is slow to read, and commands go on after it")
def slow_reader(world):
    mx = world.mx(**LATER_MX)
    engine = world.engine(workers=2, domain=LATER)
    send_many(world, "a.test", 8000, job="x" * 60)
    wait_deferred(engine, 8000)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(str(engine.socket))
        slow.sendall(b'{"command":"list","maxitems":100000}\n')
        time.sleep(0.3)  # it fills what the kernel takes
        world.send([f"now{i}@a.test" for i in range(100)])
        wait_for(lambda: len(mx.delivered) == 100, "mail is delivered meanwhile")
        answer = engine.ask("list")
        check_equal((answer["status"], answer["code"]), ("error", 75), "a second list")
        with slow.makefile("rb") as lines:
            for count, line in enumerate(lines):
                if b'"end":true' in line:
                    break
        check_equal(count, 8000, "rows, in the end")
    check_equal(list_rows(engine, "--maxitems=9000")[1]["rows"], 8000, "again")


@test("list: a client that leaves in the middle stops it")
def reader_leaves(world):
    world.mx()
    engine = world.engine(workers=2)
    engine.control("pause queue", "*/*")
    send_many(world, "a.test", 5000, job="x" * 60)
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(engine.socket))
        leaving.sendall(b'{"command":"list","maxitems":100000}\n')
        leaving.recv(1000)
    wait_for(lambda: engine.ask("list", maxitems=1).get("code") != 75, "another may list")
    check_equal(list_rows(engine, "--maxitems=9000")[1]["rows"], 5000, "rows")


def check_gone(engine, addresses):
    """Each has one `b` of ours, and nothing more."""
    wait_for(lambda: len(engine.records("b")) >= len(addresses), "they are recorded")
    records = engine.records("b")
    check_equal(sorted(one["rcpt"] for one in records), sorted(addresses), "bounced")
    one = records[0]
    check(one["dsnDiag"] == "smtp;554 5.3.0 deleted by the operator" and
          one["dsnStatus"].startswith("5.3.0") and one["bounceCat"] == "other" and
          one["dsnAction"] == "failed", one)


@test("delete: what was answered is gone from the disk, also where the engine is killed at once")
def delete_and_kill(world):
    mx = world.mx(rcpt="450 4.2.0 later")
    engine = world.engine(workers=2, domain=LATER)
    for place in range(3):
        send_many(world, f"d{place}.test", 1500, job=f"job-{place}")
    wait_deferred(engine, 4500)
    check_equal(delete(engine, "--jobId=job-1", "--dry-run"),
                {"status": "success", "wouldDelete": 1500, "onTheWire": 0, "end": True}, "dry run")
    check_equal(engine.queued(), 4500, "after the dry run")
    check_equal(delete(engine, "--rcpt=later*@d2.test", "--queue=d2.test/v1"),
                {"status": "success", "deleted": 1500, "onTheWire": 0, "end": True}, "answer")
    check_equal(delete(engine, "--jobId=job-1")["deleted"], 1500, "of a job")
    engine.kill()
    engine.start()
    check_equal(engine.queued(), 1500, "after the crash")
    rows, _ = list_rows(engine, "--maxitems=5000")
    check_equal({row["jobId"] for row in rows}, {"job-0"}, "jobs left")
    check_gone(engine, [f"later{i}@d{place}.test" for place in (1, 2) for i in range(1500)])
    mx.script["rcpt"] = "250 2.1.5 ok"
    engine.control("schedule", "*/*")
    engine.wait_empty(60)
    check_equal({address.partition("@")[2] for address in mx.delivered}, {"d0.test"}, "delivered")
    check_equal(len(mx.delivered), 1500, "delivered")


@test("delete: mail that stays is delivered meanwhile, from the same queue, each once")
def delete_beside_delivery(world):
    mx = world.mx()
    engine = world.engine(workers=2, domain="max-smtp-out 4\n")
    engine.control("pause queue", "*/*")
    for first in range(0, 3000, 500):
        world.send([f"gone{i}@a.test" for i in range(first, first + 500)], job="gone")
        world.send([f"stay{i}@a.test" for i in range(first, first + 500)], job="stay")
    engine.control("resume queue", "*/*")
    answer = delete(engine, "--jobId=gone")
    engine.wait_empty(60)
    wait_for(lambda: len(engine.records("d", "b")) >= 6000, "all are recorded")
    check_equal(len(engine.records("d", "b")), 6000, "records")
    stayed = [address for address in mx.delivered if address.startswith("stay")]
    check_equal(sorted(stayed), sorted(f"stay{i}@a.test" for i in range(3000)), "what stays")
    deleted = {one["rcpt"] for one in engine.records("b")}
    gone = {one["rcpt"] for one in engine.records("d")}
    check(not deleted & gone, "delivered and deleted")
    check(answer["deleted"] > 0 and
          answer["deleted"] <= len(deleted) <= answer["deleted"] + answer["onTheWire"], answer)


@test("delete: on the wire a success counts, and what fails is not tried again")
def delete_on_wire(world):
    release = threading.Event()

    async def wait(session, argument):
        while not release.is_set():
            await asyncio.sleep(0.01)
        if b"fails" in argument:
            return "450 4.2.0 later"
        return "250 2.1.5 ok"
    mx = world.mx(rcpt=wait)
    engine = world.engine()
    world.send(["fails@a.test", "works@a.test"])
    wait_for(lambda: mx.transactions, "it is on the wire")
    code, out, err = engine.command("delete", "--rcpt=*@a.test")
    check(code == 0 and "0 recipients deleted\n2 are being delivered" in out, (code, out, err))
    release.set()
    engine.wait_empty()
    check_equal(mx.delivered, ["works@a.test"], "delivered")
    engine.wait_records("d", 1)
    records = engine.wait_records("b", 1)
    check_equal([(one["rcpt"], one["dsnDiag"]) for one in records],
                [("fails@a.test", "smtp;554 5.3.0 deleted by the operator")], "bounced")
    check(not engine.records("t"), engine.records("t"))


@test("list: what is being written to a file is on the wire")
def list_file(world):
    world.mx()
    mailbox = world.work / "mbox"
    engine = world.engine(extra="<domain box.test>\ntype file\nfile-format append-mbox\n"
                          f"file-destination {mailbox}\n</domain>\n")
    with open(mailbox, "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        world.send("u@box.test")
        wait_for(lambda: [row["state"] for row in list_rows(engine)[0]] == ["on-the-wire"],
                 lambda: list_rows(engine))
        check_equal(delete(engine, "--rcpt=u@*")["onTheWire"], 1, "on the wire")
    engine.wait_records("d", 1)
    engine.wait_empty()


@test("delete: no command is run for those deleted while another's runs")
def delete_before_command(world):
    world.mx()
    program, go = world.work / "deliver", world.work / "go"
    program.write_text(f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    program.chmod(0o755)
    engine = world.engine(extra="<domain pipe.test>\ntype pipe\n"
                          f'command "{program} $to"\n</domain>\n')
    world.send([f"u{i}@pipe.test" for i in range(3)])
    wait_for(lambda: [row["state"] for row in list_rows(engine)[0]] == ["on-the-wire"] * 3,
             lambda: list_rows(engine))
    check_equal(delete(engine, "--rcpt=u*")["onTheWire"], 3, "on the wire")
    go.touch()
    engine.wait_empty()
    check_equal(len(engine.wait_records("d", 1)), 1, "delivered: whose command ran")
    check_equal({one["dsnDiag"] for one in engine.wait_records("b", 2)},
                {"x-posthaste;554 5.3.0 deleted by the operator"}, "the others")


@test("delete: works for queues whose virtual MTA left the configuration")
def delete_orphans(world):
    world.mx(rcpt="450 4.2.0 later")
    engine = world.engine(workers=2, domain=LATER, extra="<virtual-mta v3>\n"
                          f"    smtp-source-host {world.address(103)} v3.test\n</virtual-mta>\n")
    send_many(world, "a.test", 1000, vmta="v3")
    send_many(world, "b.test", 10, vmta="v3")
    send_many(world, "a.test", 10, vmta="v1")
    wait_deferred(engine, 1020)
    engine.write(extra="")
    engine.control("reload")
    wait_for(lambda: any(row["orphaned"] for row in engine.control("show queues")["queues"]),
             "it is orphaned")
    check_equal(delete(engine, "--queue=a.test/v3")["deleted"], 1000, "after a reload")
    engine.stop()
    engine.start()
    check_equal(engine.queued(), 20, "left")
    check_equal(delete(engine, "--queue=*/v3")["deleted"], 10, "after a restart")
    check_equal([row["queue"] for row in list_rows(engine)[0]], ["a.test/v1"] * 10, "left")


@test("delete: nothing selected, an empty value and --dsn are errors that delete nothing")
def delete_refused(world):
    world.mx()
    engine = world.engine()
    engine.control("pause queue", "*/*")
    world.send("a@a.test")
    for words in ([], ["--dry-run"], ["--rcpt="], ["--jobId="], ["--queue="], ["--older-than=0"],
                  ["--older-than=soon"], ["--rcpt=*", "--dsn"], ["--all"], ["a.test/v1"],
                  ["--rcpt=" + "x" * 501]):
        code, out, err = engine.command("delete", *words)
        check(code == 64 and out == "" and "usage" in err, (words, code, out, err))
    code, _, err = engine.command("delete", "--rcpt=*", "--dsn")
    check("not yet in effect" in err, err)
    for request in ({}, {"rcpt": "*", "dsn": True}, {"rcpt": ""}, {"rcpt": "*", "jobid": "x"},
                    {"rcpt": "*", "jobId": 7}, {"rcpt": "*", "olderThanMs": "1h"},
                    {"olderThanMs": -1}, {"rcpt": "*", "dryRun": "yes"}):
        answer = engine.ask("delete", **request)
        check(answer["status"] == "error" and answer["code"] == 64, (request, answer))
    check_equal(engine.queued(), 1, "left")
    code, out, _ = engine.command("delete", "--rcpt=b@*")
    check(code == 0 and out == "0 recipients deleted\n", out)
    code, out, _ = engine.command("delete", "--queue=*/*", "--dry-run")
    check(code == 0 and out == "1 recipient would be deleted\n", out)
    code, out, _ = engine.command("delete", "--queue=*/*")
    check(code == 0 and out == "1 recipient deleted\n", out)
    check_equal(engine.queued(), 0, "left")


@test("show jobs: what is ready, deferred and on the wire of each, over queues and workers")
def show_jobs(world):
    world.mx(**LATER_MX)
    slow = world.mx(12, domains=["slow.test"], final=[Delay(20), "250 taken"])
    world.destinations["*"] = f"[{world.address(11)}]:2525"
    engine = world.engine(workers=2, domain=LATER)
    for place in range(4):
        send_many(world, f"d{place}.test", 700, job="spring")
    wait_deferred(engine, 2800)
    world.send(["u@slow.test", "v@slow.test"], job="autumn")
    wait_for(lambda: slow.transactions and slow.transactions[0].data_code, "one is on the wire")
    engine.control("pause queue", "d1.test/*")
    world.send(["a@d1.test", "b@d1.test", "c@d1.test"], job="spring")
    world.send("none@d1.test")
    answer = engine.control("show jobs")
    check_equal(answer["jobs"], [
        {"name": "autumn", "rcpts": 2, "ready": 0, "deferred": 0, "onTheWire": 2, "paused": False},
        {"name": "spring", "rcpts": 2803, "ready": 3, "deferred": 2800, "onTheWire": 0,
         "paused": False}], "jobs")
    check_equal((answer["total"], answer["others"]), (2, 0), "total")
    code, out, _ = engine.command("pause", "job", "not there yet")
    check(code == 0 and out == "paused job not there yet: 0 recipients wait\n", out)
    code, out, _ = engine.command("show", "jobs")
    check(code == 0 and "2,803" in out and "not there yet" in out and "paused" in out, out)


@test("pause job: nothing of it leaves, other mail of its queues does, until it is resumed")
def pause_job(world):
    mx = world.mx(**LATER_MX)
    engine = world.engine(workers=2)
    engine.control("pause queue", "*/*")
    for place in range(2):
        send_many(world, f"d{place}.test", 1000, name="held", job="held")
        send_many(world, f"d{place}.test", 100, name="free", job="held-too")
    code, out, err = engine.command("pause", "job", "held")
    check((code, out, err) == (0, "paused job held: 2000 recipients wait\n", ""), (code, out, err))
    engine.control("resume queue", "*/*")
    send_many(world, "d0.test", 100, name="new", job="held")
    wait_for(lambda: len(mx.delivered) == 200, lambda: f"others go: {len(mx.delivered)}")
    engine.control("schedule", "*/*")
    time.sleep(0.5)
    check_equal({address[:4] for address in mx.delivered}, {"free"}, "delivered")
    rows, _ = list_rows(engine, "--maxitems=5000")
    check_equal((len(rows), {row["state"] for row in rows}), (2100, {"job-paused"}), "listed")
    job = engine.control("show jobs")["jobs"][0]
    check_equal((job["name"], job["rcpts"], job["paused"]), ("held", 2100, True), "job")
    sessions = len(mx.sessions)
    world.send("more@d1.test", job="held")
    time.sleep(0.3)
    check_equal(len(mx.sessions), sessions, "no connection is opened for it")
    code, out, err = engine.command("resume", "job", "held")
    check((code, out, err) == (0, "resumed job held: 2101 recipients wait\n", ""), (code, out, err))
    engine.wait_empty(60)
    check_equal(len(mx.delivered), 2301, "delivered")
    check_equal(len(set(mx.delivered)), 2301, "each once")
    code, out, err = engine.command("resume", "job", "held")
    check(code == 68 and out == "" and "no job is paused as held" in err, (code, out, err))


@test("pause job: outlives a kill at once after the answer, and so does its end")
def pause_job_kill(world):
    mx = world.mx()
    engine = world.engine(workers=2)
    engine.control("pause queue", "*/*")
    send_many(world, "a.test", 1000, job="one")
    send_many(world, "b.test", 1000, job="two")
    for job in ("one", "two"):
        check_equal(engine.control("pause job", jobId=job)["rcpts"], 1000, "wait")
    engine.control("resume job", jobId="two")
    engine.kill()
    engine.start()
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.delivered) == 1000, lambda: f"the other goes: {len(mx.delivered)}")
    time.sleep(0.3)
    check_equal({address.partition("@")[2] for address in mx.delivered}, {"b.test"}, "delivered")
    check_equal(delete(engine, "--jobId=one", "--rcpt=*0@a.test")["deleted"], 100, "deleted")
    engine.control("resume job", jobId="one")
    engine.wait_empty(60)
    check_equal(len(mx.delivered), 1900, "delivered")


@test("pause job: a transient reply's retry waits")
def pause_job_retry(world):
    mx = world.mx(rcpt=Turns("450 4.2.0 later", "250 2.1.5 ok"))
    engine = world.engine(domain="retry-recipients-after 1s\n")
    world.send("u@a.test", job="one")
    engine.wait_records("t", 1)
    engine.control("pause job", jobId="one")
    time.sleep(1.5)
    check_equal(len(mx.transactions), 1, "attempts while it is paused")
    engine.control("resume job", jobId="one")
    engine.wait_empty()
    check_equal(mx.delivered, ["u@a.test"], "delivered")


def prepare_second(world):
    """One message is on the wire, the next is prepared for the same connection: (engine, mx)."""
    mx = world.mx(capabilities=["8BITMIME"], final=[Delay(2), "250 taken"])
    engine = world.engine(domain="max-smtp-out 1\n")
    engine.control("pause queue", "*/*")
    world.send("first@a.test", job="first")
    world.send("second@a.test", job="second")
    engine.control("resume queue", "*/*")
    wait_for(lambda: mx.transactions and mx.transactions[0].data_code, "it is on the wire")
    wait_for(lambda: [row["state"] for row in list_rows(engine)[0]] == ["on-the-wire"] * 2,
             "the second is prepared")
    return engine, mx


@test("pause job: what was only prepared for a connection is not sent")
def pause_prepared(world):
    engine, mx = prepare_second(world)
    check_equal(engine.control("pause job", jobId="second")["onTheWire"], 1, "prepared")
    check(not mx.transactions[0].code, "too late: the machine is busy")
    engine.wait_records("d", 1)
    wait_for(lambda: [row["state"] for row in list_rows(engine)[0]] == ["job-paused"], "it is back")
    check_equal((mx.delivered, len(mx.transactions)), (["first@a.test"], 1), "delivered")


@test("delete: what was only prepared for a connection is not sent")
def delete_prepared(world):
    engine, mx = prepare_second(world)
    check_equal(delete(engine, "--jobId=second")["onTheWire"], 1, "prepared")
    check(not mx.transactions[0].code, "too late: the machine is busy")
    engine.wait_records("b", 1)
    engine.wait_empty()
    check_equal((mx.delivered, len(mx.transactions)), (["first@a.test"], 1), "delivered")


@test("pause job: an id is needed, and not too long a one")
def pause_job_usage(world):
    world.mx()
    engine = world.engine()
    for words in (["pause", "job"], ["resume", "job"], ["pause", "job", "a", "b"],
                  ["pause", "job", "x" * 401]):
        code, out, err = engine.command(*words)
        check(code == 64 and out == "" and err, (words, code, out, err))
    for request in ({}, {"jobId": ""}, {"jobId": "x" * 401}, {"job": "a"}):
        answer = engine.ask("pause job", **request)
        check(answer["status"] == "error" and answer["code"] == 64, (request, answer))


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
