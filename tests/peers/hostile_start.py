"""Rows K: what the engine does when its start or a reload meets trouble."""
import csv
import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import time

from harness import PORT, Client, check, check_equal, make_content, test, wait_for
from hostile_clients import fill
from mx import Turns
from namespace import Namespace
from nobody import AS_NOBODY, give_to_nobody


def fails(engine, *codes, seconds=20):
    """The engine ends by itself with one of the codes; what it said."""
    engine.run()
    code = engine.process.wait(seconds)
    text = engine.process.text()
    check(code in codes, f"exit {code}, wanted {codes}: {text[-2000:]}")
    return text


def can_connect(address):
    with socket.socket() as tried:
        return tried.connect_ex(address) == 0


# ---- reload ---------------------------------------------------------------------------------


@test("K8 reload of a broken file: refused with 78, the old configuration goes on")
def k8_broken(world):
    mx = world.mx()
    engine = world.engine()
    good = engine.configuration.read_text()
    engine.configuration.write_text(good + "\nsmtp-sorce-host 127.0.0.1 x.test\n")
    answer = engine.ask("reload")
    check_equal((answer["status"], answer.get("code")), ("error", 78), "answer to reload")
    code, _, _ = engine.command("reload")
    check_equal(code, 78, "exit code of reload")
    engine.process.signal(signal.SIGHUP)
    wait_for(lambda: "smtp-source-host" in engine.process.text(), "the log names the error")
    world.send()
    wait_for(lambda: mx.messages, "mail goes on")
    engine.configuration.write_text(good)
    engine.process.signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in engine.process.text(), "the log says that it was reloaded")


@test("K8 a good reload takes effect at once and as a whole")
def k8_good(world):
    first, second = world.mx(11), world.mx(12)
    world.route("*", first)
    engine = world.engine(domain="max-rcpt-per-message 1")
    world.send(["a@a.test", "b@a.test"])
    engine.wait_records("d", 2)
    world.route("*", second)
    engine.write(domain="max-rcpt-per-message 100",
                 extra="<virtual-mta new>\nsmtp-source-host "
                       f"{world.address(109)} new.example.test\n</virtual-mta>")
    engine.process.signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in engine.process.text(), "reloaded")
    world.send(["a@a.test", "b@a.test"], vmta="new")
    engine.wait_records("d", 4)
    check_equal([len(one.accepted_rcpts) for one in second.messages], [2], "batches")
    check_equal(second.messages[0].session.source, world.address(109), "source")
    check_equal(len(first.messages), 2, "messages at the first host")


@test("K8 reload a hundred times under load: nothing is lost")
def k8_often(world):
    mx = world.mx()
    engine = world.engine()
    with world.client() as client:
        client.hello()
        for number in range(100):
            client.message(f"u{number:03}@a.test")
            if engine.ask("reload")["status"] != "success":
                check_equal(engine.ask("reload").get("code", 75), 75, "refusal")
    engine.wait_records("d", 100)
    check_equal(mx.delivered, [f"u{number:03}@a.test" for number in range(100)], "delivered")


# effect: global max-memory
@test("max-memory is reached: MAIL gets 452 4.3.1; with more allowed by a reload it is taken")
def memory(world):
    mx = world.mx()
    engine = world.engine(globals="max-memory 64m")
    engine.control("pause queue", "many.test/*")
    original = f" ORCPT=rfc822;{'o' * 400}@many.test"
    rcpts = "".join(f"RCPT TO:<{'u' * 60}{number}@many.test>{original}\r\n"
                    for number in range(1000)).encode()
    with world.client(seconds=60) as client:
        client.hello()
        for _ in range(200):
            reply = client.command("MAIL FROM:<s@in.test>")
            if not reply.startswith("250"):
                break
            client.send(rcpts)
            check_equal({client.reply()[:3] for _ in range(1000)}, {"250"}, "replies to RCPT")
            client.data(make_content())
        check(reply.startswith("452 4.3.1"), reply)
        engine.write(globals="max-memory 100g")
        engine.control("reload")
        client.expect("MAIL FROM:<s@in.test>", "250")
        client.expect("RCPT TO:<user@a.test>", "250")
        client.data(make_content())
    wait_for(lambda: mx.messages, "delivered")


@test("the service manager hears of start, reloads good and bad, life, and stop")
def notices(world):
    path = str(world.short / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)

        def heard(*wanted):
            for notice in wanted:
                said = manager.recv(4096).decode()
                while said == "WATCHDOG=1" != notice:
                    said = manager.recv(4096).decode()
                check_equal(said, notice, "notice")

        engine = world.engine(start=False)
        engine.environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        engine.start()
        heard("READY=1", "WATCHDOG=1", "WATCHDOG=1")
        engine.process.signal(signal.SIGHUP)
        heard("RELOADING=1", "READY=1")
        engine.write(globals="nonsense")
        engine.process.signal(signal.SIGHUP)
        heard("RELOADING=1", "READY=1", "WATCHDOG=1")
        engine.stop()
        heard("STOPPING=1")


@test("K9 a virtual MTA that leaves by reload: its queue is kept and goes on when it is back")
def k9(world):
    mx = world.mx(rcpt="450 4.2.1 not now")
    extra = f"<virtual-mta going>\nsmtp-source-host {world.address(103)} going.test\n</virtual-mta>"
    engine = world.engine(extra=extra)
    world.send(vmta="going")
    engine.wait_records("t", 1)
    engine.write(extra="")
    engine.control("reload")
    wait_for(lambda: [one for one in engine.control("show queues")["queues"] if one["orphaned"]],
             "the queue is shown as orphaned")
    mx.script["rcpt"] = "250 2.1.5 ok"
    time.sleep(1.5)
    check_equal(mx.messages, [], "messages from a virtual MTA that is gone")
    check_equal(engine.queued(), 1, "queued")
    engine.write(extra=extra)
    engine.control("reload")
    engine.control("schedule", "*/*")
    wait_for(lambda: mx.messages, "it goes on")
    check_equal(mx.messages[0].session.source, world.address(103), "source")


@test("K9 mail of a virtual MTA that left: one that is nothing but a rule sends it on, on time")
def k9_rebind(world):
    mx = world.mx(rcpt=Turns("450 4.2.1 not now", "250 2.1.5 ok"))
    extra = f"<virtual-mta going>\nsmtp-source-host {world.address(103)} going.test\n</virtual-mta>"
    engine = world.engine(extra=extra, domain="retry-recipients-after 3s")
    world.send(vmta="going")
    deferred = engine.wait_records("t", 1)[0]
    began = time.monotonic()
    engine.write(extra="")
    engine.control("reload")
    wait_for(lambda: engine.control("show queue", "a.test/going")["queues"][0]["orphaned"],
             "the queue is shown as orphaned")
    engine.write(extra="<virtual-mta going>\n<domain *>\nreroute-to-virtual-mta v2\n"
                       "</domain>\n</virtual-mta>")
    engine.control("reload")
    delivered = engine.wait_records("d", 1)[0]
    check(time.monotonic() - began > 2, "not before its time")
    check_equal((deferred["queue"], delivered["queue"]), ("a.test/going", "a.test/v2"), "queues")
    check_equal(mx.messages[0].session.source, world.address(102), "source")
    engine.wait_empty()


@test("K9 mail of a virtual MTA that left is deleted by command, and by nothing else")
def k9_delete(world):
    mx = world.mx(rcpt="450 4.2.1 not now")
    extra = f"<virtual-mta going>\nsmtp-source-host {world.address(103)} going.test\n</virtual-mta>"
    engine = world.engine(extra=extra)
    world.send(["one@a.test", "two@a.test"], vmta="going")
    engine.wait_records("t", 2)
    engine.write(extra="")
    engine.control("reload")
    wait_for(lambda: engine.control("show queue", "a.test/going")["queues"][0]["orphaned"],
             "the queue is shown as orphaned")
    check_equal((engine.queued(), engine.records("b")), (2, []), "what waits, and bounces")
    code, out, errors = engine.command("delete", "--queue=a.test/going")
    check_equal(code, 0, f"exit code of delete: {out}{errors}")
    bounced = engine.wait_records("b", 2)
    check_equal({(one["rcpt"], one["queue"]) for one in bounced},
                {("one@a.test", "a.test/going"), ("two@a.test", "a.test/going")}, "bounces")
    engine.wait_empty()
    check_equal(mx.messages, [], "messages")


# ---- start ----------------------------------------------------------------------------------


@test("K1 an unknown directive: exit 78, file:line:column and what was meant")
def k1(world):
    engine = world.engine(start=False)
    engine.configuration.write_text(engine.configured() + "\nsmtp-sorce-host 127.0.0.1 x.test\n")
    text = fails(engine, 78)
    check(re.search(r"posthaste\.conf:\d+:\d+: error: unknown directive 'smtp-sorce-host'", text),
          text)
    check("did you mean 'smtp-source-host'" in text, text)


@test("K2 a source address that is not on this host: exit 78, it names the address")
def k2(world):
    engine = world.engine(start=False, extra="<virtual-mta far>\n"
                          "smtp-source-host 192.0.2.77 far.example.test\n</virtual-mta>")
    check("192.0.2.77" in fails(engine, 78), "the address is named")


@test("K10 a listen address that is taken: the start fails and names it")
def k10_taken(world):
    with socket.socket() as taken:
        taken.bind((world.address(1), PORT))
        taken.listen()
        for workers in (1, 3):
            engine = world.engine(start=False, workers=workers)
            text = fails(engine, 69, 71, 73, 75, 77, 78)
            check(f"{world.address(1)}:{PORT}" in text, text)
            world.engines.clear()


@test("K10 a port below 1024 without the right: the start fails and names it")
def k10_right(world):
    engine = world.engine(start=False, listener=f"{world.address(1)}:25", prefix=AS_NOBODY)
    give_to_nobody(world)
    text = fails(engine, 69, 71, 73, 75, 77, 78)
    check(f"{world.address(1)}:25" in text, text)


@test("K10 IPv6 is not there: the start fails and names the address", needs="unshare")
def k10_six(world):
    namespace = Namespace(world)
    namespace.set("net.ipv6.conf.all.disable_ipv6", 1)
    engine = world.engine(start=False, listener=f"[::1]:{PORT}", preexec=namespace.enter)
    text = fails(engine, 69, 71, 73, 75, 77, 78)
    check(f"[::1]:{PORT}" in text, text)


@test("K10 a reload with a listener that cannot be opened keeps the others")
def k10_reload(world):
    mx = world.mx()
    engine = world.engine()
    with socket.socket() as taken:
        taken.bind((world.address(2), PORT))
        taken.listen()
        engine.write(globals=f"smtp-listener {world.address(2)}:{PORT}")
        engine.ask("reload")
        world.send()
    wait_for(lambda: mx.messages, "mail goes on")


@test("K10 a reload opens new listeners, closes those that went, renames those that stay")
def k10_listeners(world):
    mx = world.mx()
    engine = world.engine(workers=2)
    second, third = (world.address(2), PORT), (world.address(3), PORT)

    def reload(globals):
        count = engine.process.text().count("configuration reloaded")
        engine.write(globals=globals)
        engine.control("reload")
        wait_for(lambda: engine.process.text().count("configuration reloaded") > count, "reloaded")

    reload(f"smtp-listener {second[0]}:{PORT}\nsmtp-listener {third[0]}:{PORT}")
    with Client(second) as stays, Client(third):
        stays.hello()
        reload(f"<smtp-listener {second[0]}:{PORT}>\nhost-name renamed.test\n</smtp-listener>")
        stays.message(["a@a.test"])  # the session goes on
    wait_for(lambda: not can_connect(third), "the third is closed")
    with Client(second, read_greeting=False) as renamed:
        check("renamed.test" in renamed.reply(), "greeting of the listener with a new name")
    world.send()
    wait_for(lambda: len(mx.messages) == 2, "mail by a listener that stayed as it was")


@test("a reload says which changes wait for the next start")
def reload_needs_restart(world):
    engine = world.engine()
    engine.write(globals="spool-sync no")
    engine.control("reload")
    wait_for(lambda: "spool-sync is different now: that takes effect at the next start"
             in engine.process.text(), "said for spool-sync")
    check("workers is different" not in engine.process.text(), "said of what has not changed")


@test("K11 a spool that cannot be written: the start fails, 73 or 75, and says so")
def k11_unwritable(world):
    engine = world.engine(start=False, prefix=AS_NOBODY)
    give_to_nobody(world)
    os.chown(world.work / "spool", 0, 0)
    os.chmod(world.work / "spool", 0o755)
    text = fails(engine, 73, 75)
    check(str(world.work / "spool") in text, text)


@test("K11 a spool that is a file, or not there: the start fails and names it")
def k11_absent(world):
    engine = world.engine(start=False)
    (world.work / "spool").rmdir()
    (world.work / "spool").write_text("not a folder\n")
    text = fails(engine, 73, 75, 78)
    check(str(world.work / "spool") in text, text)


@test("K11 a second engine on the same spool refuses to start; the first goes on")
def k11_second(world):
    mx = world.mx()
    world.engine()
    second = world.engine(start=False)
    second.socket = world.short / "second.sock"
    second.configuration = world.work / "second.conf"
    second.configuration.write_text(second.configured(
        listener=f"{world.address(2)}:{PORT}").replace("acct.jsonl", "second.jsonl"))
    text = fails(second, 73, 75)
    check(str(world.work / "spool") in text, text)
    world.send()
    wait_for(lambda: mx.messages, "the first one goes on")


@test("K12 few descriptors: raised to the hard limit, and the totals are cut to it")
def k12(world):
    mx = world.mx()
    engine = world.engine(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096)))
    soft, _ = resource.prlimit(engine.process.popen.pid, resource.RLIMIT_NOFILE)
    check_equal(soft, 4096, "the soft limit")
    text = engine.process.text()
    check("total-max-smtp" in text or "descriptor" in text, text)
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")


@test("K12 so few descriptors that nothing goes: an error with the needed number")
def k12_none(world):
    engine = world.engine(start=False, preexec=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (10, 10)))
    text = fails(engine, 71, 73, 75, 77, 78)
    check(re.search(r"descriptor|RLIMIT_NOFILE|LimitNOFILE", text) and re.search(r"\d\d", text),
          text)


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]


def refuse_io_uring(error):
    """For this process and its children io_uring_setup fails with this error (seccomp)."""
    setup, load, equal, give = 425, 0x20, 0x15, 0x06
    rows = (Filter * 4)(Filter(load, 0, 0, 0), Filter(equal, 0, 1, setup),
                        Filter(give, 0, 0, 0x00050000 | error), Filter(give, 0, 0, 0x7FFF0000))
    program = Program(4, rows)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


@test("K13 io_uring refused: a message that says what to do")
def k13(world):
    for error, name in ((1, "EPERM"), (38, "ENOSYS")):
        engine = world.engine(start=False, preexec=lambda error=error: refuse_io_uring(error))
        text = fails(engine, 69, 71, 77, 78)
        check("io_uring" in text, f"{name}: {text}")
        world.engines.clear()


def run(*words):
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def on_small_disk(world, function):
    """Calls the function with an engine, not started, whose spool lies on a disk of 300 MiB, and
    where that is mounted, from which file."""
    image, mount = world.work / "disk.img", world.work / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(300 << 20)
    run("mkfs.ext4", "-q", "-F", "-m", "0", image)
    run("mount", "-o", "loop", image, mount)
    try:
        (mount / "spool").mkdir()
        engine = world.engine(start=False)
        (world.work / "spool").rmdir()
        (world.work / "spool").symlink_to(mount / "spool")
        function(world, engine, mount, image)
    finally:
        for engine in world.engines:
            if engine.process is not None:
                engine.kill()
        run("umount", mount)


@test("S42 a file system without room: never 250, what was accepted is delivered")
def s42_small(world):
    on_small_disk(world, small_disk)


def small_disk(world, engine, *_):
    mx = world.mx()
    engine.write()
    engine.start()
    engine.control("pause queue", "*/*")
    accepted, reply = 0, ""
    for _ in range(6):
        count, reply = fill(world, engine, 100, 1_000_000)
        accepted += count
        if reply:
            break
    check(reply.startswith(("452 4.3.1", "451 4.3.0")), f"after {accepted}: {reply!r}")
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.messages) == accepted, "all that was accepted arrives", 60)
    engine.stop()


@test("K11 the spool becomes read-only while it runs: never 250; what was accepted is delivered "
      "when it is writable again")
def k11_read_only(world):
    on_small_disk(world, read_only_disk)


def read_only_disk(world, engine, mount, image):
    mx = world.mx()
    engine.write()
    engine.start()
    engine.control("pause queue", "*/*")
    accepted, reply = fill(world, engine, 5, 100_000)
    check_equal((accepted, reply), (5, ""), "accepted while it is writable")
    run("mount", "-o", "remount,abort", mount)  # as ext4 does after an error of its disk
    refused, reply = fill(world, engine, 3, 100_000)
    check(refused == 0 and reply.startswith(("452 4.3.1", "451 4.3.0")), f"{refused}: {reply!r}")
    check(engine.process.running(), "it goes on, so that an operator can ask it")
    engine.kill()
    run("umount", mount)
    run("mount", "-o", "loop", image, mount)
    engine.start()
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.messages) >= accepted, "all that was accepted arrives", 60)
    wait_for(lambda: fill(world, engine, 1, 100_000) == (1, ""), "accepted again")
    wait_for(lambda: len(mx.messages) == accepted + 1, "that arrives, too")


@test("K11 a spool in memory (tmpfs): the start fails and says why")
def k11_tmpfs(world):
    engine = world.engine(start=False)
    spool = world.work / "spool"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "none", spool], check=True)
    try:
        text = fails(engine, 73, 75, 78)
        check("tmpfs" in text, text)
    finally:
        engine.kill()
        subprocess.run(["umount", spool], check=True)


@test("T3 a full accounting volume: 452 4.3.1 names the file; with room again all is there once")
def t3(world):
    volume, filler = world.work / "volume", world.work / "volume" / "filler"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", volume], check=True)
    try:
        full_volume(world, volume, filler)
    finally:
        for engine in world.engines:
            engine.kill()
        subprocess.run(["umount", volume], check=True, capture_output=True)


def full_volume(world, volume, filler):
    mx = world.mx(rcpt="450 4.2.1 " + "not now " * 20)
    engine = world.engine(extra=f"""<acct-file {volume}/full.csv>
            records d,t
            max-lag 20k
            on-lag hold
        </acct-file>""")
    filler.write_bytes(b"")
    try:
        with open(filler, "ab", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        pass
    rcpts = [f"u{number:02}@a.test" for number in range(50)]
    world.send(rcpts)
    with world.client() as client:
        client.hello()

        def refusal():
            client.expect("RSET", 250)
            reply = client.command("MAIL FROM:<s@in.test>")
            return None if reply.startswith("250") else reply

        reply = wait_for(refusal, "the sink holds")
    check(reply.startswith("452 4.3.1") and "full.csv" in reply, reply)
    check_equal(engine.queued(), len(rcpts), "queued")
    filler.unlink()
    mx.script["rcpt"] = "250 2.1.5 ok"
    wait_for(lambda: len(mx.delivered) == len(rcpts), "all are delivered", 30)
    wait_for(lambda: fill(world, engine, 1, 1000)[0] == 1, "mail is taken again")
    wait_for(lambda: len(mx.delivered) == len(rcpts) + 1, "that, too")
    engine.stop()
    rows = sorted((row["type"], row["rcpt"]) for path in volume.glob("full*.csv")
                  for row in csv.DictReader(open(path, newline="", encoding="utf-8")))
    wanted = sorted((one["type"], one["rcpt"]) for one in engine.records("d", "t"))
    check_equal(len(rows), len(wanted), "rows")
    check(rows == wanted, "the two files tell of different things")
    check(sum(kind == "t" for kind, _ in rows) >= len(rcpts), "nothing was put off")
