#!/usr/bin/env python3
"""Several <spool> blocks in one engine, and a dead box's spool attached with deliver-only.

    tests/peers/logs.py BUILD [ROW…]

Every record is accounted once, whatever log it is of, also over restarts and kills."""
import re
import signal
import subprocess
import sys
from collections import Counter

from harness import PORT, check, check_equal, main, make_content, test, wait_for

SECOND = "<spool {work}/second>\n{lines}</spool>\n"


def second(world, lines=""):
    (world.work / "second").mkdir(exist_ok=True)
    return SECOND.format(work=world.work, lines=lines)


def logs(engine):
    """By the name of the directory."""
    return {one["directory"].rsplit("/", 1)[1]: one for one in engine.status()["spools"]}


def held(engine):
    return {name: one["recipients"] for name, one in logs(engine).items()}


def wait_held(engine, what, **wanted):
    """The numbers are told ten times a second."""
    wait_for(lambda: held(engine) == wanted, lambda: f"{what}: {held(engine)}, wanted {wanted}")


def fails(engine, wanted):
    """The engine ends by itself with this code; what it said."""
    engine.run()
    code = engine.process.wait(20)
    text = engine.process.text()
    check(code == wanted, f"exit {code}, wanted {wanted}: {text[-2000:]}")
    return text


def count_came(mx):
    return Counter(rcpt.decode()[4:-1] for message in mx.messages for rcpt, _ in message.rcpts)


def send(world, names, **options):
    """One message to each, over one connection; the queue ids."""
    with world.client() as client:
        client.hello()
        return [client.message(f"{name}@a.test", **options) for name in names]


def check_accounted(engine, mx, names):
    """Each came once and has one `d`."""
    wait_for(lambda: len(mx.messages) >= len(names), "all arrive")
    engine.wait_empty()
    engine.stop()
    came = count_came(mx)
    delivered = Counter(one["rcpt"] for one in engine.records("d"))
    wanted = Counter(f"{name}@a.test" for name in names)
    check_equal(came, wanted, "what came")
    check_equal(delivered, wanted, "what was accounted")


def log_ids(engine, type="d"):
    return {one["eid"].split("-")[0] for one in engine.records(type)}


@test("logs: two spools take mail in turn, and a restart finds both")
def in_turn(world):
    mx = world.mx()
    engine = world.engine(extra=second(world))
    engine.control("pause queue", "*/*")
    names = [f"n{number}" for number in range(20)]
    ids = send(world, names)
    check_equal(len(set(ids)), 20, "queue ids")
    wait_held(engine, "recipients of each log", spool=10, second=10)
    check_equal(engine.status()["spool"]["recipients"], 20, "the sum")
    check_equal((logs(engine)["spool"]["home"], logs(engine)["second"]["home"]), (True, False),
                "home")
    code, text, _ = engine.command("show", "status")
    check(code == 0 and re.search(r"/second: .* used, 10 recipients", text), text)
    engine.stop()
    engine.workers = 3
    engine.write()
    engine.start()
    wait_held(engine, "recipients after a restart", spool=10, second=10)
    check(not mx.messages, "the pause holds over the restart, for both")
    engine.kill()
    engine.start()
    wait_held(engine, "recipients after a kill", spool=10, second=10)
    engine.control("resume queue", "*/*")
    check_accounted(engine, mx, names)
    check_equal(len(log_ids(engine)), 2, "logs that records name")


# effect: spool priority
@test("logs: mail goes to the higher priority")
def priority(world):
    mx = world.mx()
    engine = world.engine(extra=second(world, "priority 7\n"))
    engine.control("pause queue", "*/*")
    names = [f"n{number}" for number in range(6)]
    send(world, names)
    wait_held(engine, "recipients of each log", spool=0, second=6)
    engine.control("resume queue", "*/*")
    check_accounted(engine, mx, names)


@test("logs: records of a life that ended in the midst are there once")
def records_once(world):
    mx = world.mx()
    engine = world.engine(extra=second(world))
    names = []
    for life in range(4):
        mine = [f"l{life}n{number}" for number in range(30)]
        names += mine
        send(world, mine)
        wait_for(lambda: len(mx.messages) >= len(names), "all of a life arrive")
        engine.wait_empty()
        # A reply is in the journal by now; the file may lack it.
        wait_for(lambda: engine.status()["spool"]["recipients"] == 0, "the journal is synced")
        engine.kill()
        engine.workers = 1 + life % 3
        engine.write()
        engine.start()
    check_accounted(engine, mx, names)


@test("logs: a dead box's spool is delivered, accounted, and takes nothing new")
def dead_box(world):
    mx = world.mx()
    dead = world.engine()
    before = [f"before{number}" for number in range(5)]
    send(world, before)
    wait_for(lambda: len(mx.messages) == 5, "what was sent before")
    dead.control("pause queue", "*/*")
    dead.stop()  # so that its position is durable: what a box writes in its last second is not
    dead.start()
    left = [f"left{number}" for number in range(8)]
    send(world, left)
    dead.kill()
    (world.work / "spool").rename(world.work / "dead")
    old = sorted(world.work.glob("acct*.jsonl"))
    texts = [path.read_bytes() for path in old]
    world.engines.remove(dead)
    engine = world.engine(
        extra=f"<spool {world.work}/dead>\ndeliver-only yes\npriority 9\n</spool>\n")
    check_equal(logs(engine)["dead"]["deliverOnly"], True, "deliverOnly")
    new = [f"new{number}" for number in range(6)]
    engine.control("pause queue", "new.test/*")
    with world.client() as client:
        client.hello()
        for name in new:
            client.message(f"{name}@new.test")
    wait_held(engine, "what is left goes out, new mail is the home's", spool=6, dead=0)
    engine.stop()
    check_equal([path.read_bytes() for path in old], texts, "the dead box's own files")
    engine.start()
    wait_held(engine, "recipients after a restart", spool=6, dead=0)
    engine.control("resume queue", "new.test/*")
    wait_for(lambda: len(mx.messages) == 19, "all arrive")
    engine.wait_empty()
    engine.stop()
    came = count_came(mx)
    wanted = Counter([f"{name}@a.test" for name in before + left] +
                     [f"{name}@new.test" for name in new])
    check_equal(came, wanted, "what came")
    check_equal(Counter(one["rcpt"] for one in engine.records("d")), wanted, "what was accounted")


# effect: spool deliver-only
@test("logs: the main spool is emptied by deliver-only while another takes over")
def take_over(world):
    mx = world.mx()
    engine = world.engine()
    engine.control("pause queue", "*/*")
    first = [f"first{number}" for number in range(4)]
    send(world, first)
    engine.stop()
    text = engine.configuration.read_text()
    engine.text = text.replace(f"<spool {world.work}/spool>\n",
                               f"<spool {world.work}/spool>\ndeliver-only yes\n") + second(world)
    engine.write()
    engine.start()
    then = [f"then{number}" for number in range(4)]
    send(world, then)
    check_accounted(engine, mx, first + then)
    engine.start()
    check_equal(logs(engine)["second"]["home"], True, "home")


@test("logs: what cannot be used together is refused")
def refused(world):
    mx = world.mx()
    engine = world.engine()
    engine.control("pause queue", "x.test/*")
    engine.stop()
    good = engine.configuration.read_text()
    copy = world.work / "copy"
    subprocess.run(["cp", "-r", world.work / "spool", copy], check=True)
    engine.text = good + f"<spool {copy}>\n</spool>\n"
    engine.write()
    text = fails(engine, 78)
    check("are the same log" in text, text)
    engine.text = good.replace("</spool>", "deliver-only yes\n</spool>")
    engine.write()
    text = fails(engine, 78)
    check("every spool is deliver-only" in text, text)
    engine.text = good + f"<spool {world.work}/none/spool>\n</spool>\n"
    engine.write()
    text = fails(engine, 73)
    check("/none/spool" in text, text)
    engine.text = good
    engine.write()
    engine.start()
    engine.configuration.write_text(good.replace("</spool>", "priority 3\n</spool>"))
    engine.process.signal(signal.SIGHUP)
    wait_for(lambda: "<spool> is different now" in engine.process.text(),
             "a reload says that spools change at a start")
    world.send()
    wait_for(lambda: mx.messages, "mail goes on")


def fill_disk(world, mount):
    """The second spool's volume gets full of other things while both are in use."""
    mx = world.mx()
    (mount / "spool").mkdir()
    engine = world.engine(extra=f"<spool {mount}/spool>\npriority 7\n</spool>\n")
    names = [f"n{number}" for number in range(4)]
    send(world, names)
    wait_for(lambda: len(mx.messages) == 4, "mail through the volume that is preferred")
    engine.control("pause queue", "*/*")
    with open(mount / "ballast", "wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            pass
    answered, refusals = 0, 0
    with world.client() as client:
        client.hello()
        # Of what fits into the segments that are there, up to what goes to the other spool.
        while held(engine)["spool"] < 20 and answered + refusals < 2000:
            rcpt = f"m{answered}@a.test"
            if client.command("MAIL FROM:<s@in.test>").startswith("250") and \
                    client.command(f"RCPT TO:<{rcpt}>").startswith("250"):
                reply = client.data(make_content(size=200_000))
                check(reply.startswith(("250", "452", "451")), reply)
                answered += reply.startswith("250")
                refusals += not reply.startswith("250")
            else:
                refusals += 1
            client.command("RSET")
    check(held(engine)["spool"] >= 20, f"the other spool takes the mail: {held(engine)}")
    return mx, engine, names + [f"m{number}" for number in range(answered)]


@test("logs: one volume is full: the other takes the mail, all of it is delivered")
def full_volume(world):
    image, mount = world.work / "disk.img", world.work / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
    try:
        mx, engine, names = fill_disk(world, mount)
        check(len(names) > 20, names)
        engine.control("resume queue", "*/*")
        check_accounted(engine, mx, names)
    finally:
        for engine in world.engines:
            if engine.process is not None:
                engine.kill()
        subprocess.run(["umount", mount], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
