#!/usr/bin/env python3
"""What log-connections, log-commands, log-data and their like write into the engine's log.

    tests/peers/policy_logging.py BUILD [NAME…]"""
import os
import re
import ssl
import sys
import time

from harness import check, check_equal, main, make_certificate, make_content, test, wait_for
from mx import Close

SECRET = "never in a log"


def lines(engine, word):
    """Lines of the log that have the word, without time and level."""
    return [line.partition("info: ")[2] for line in engine.process.text().splitlines()
            if word in line and "info: " in line]


def wait_line(engine, word, count=1):
    wait_for(lambda: len(lines(engine, word)) >= count,
             lambda: f"{count} lines with {word!r}: {engine.process.text()[-3000:]}")
    return lines(engine, word)


def said(engine, mark):
    """What was said, by direction; the line's beginning is cut off."""
    return [line.partition(f" {mark} ")[2] for line in lines(engine, f" {mark} ")]


# effect: domain log-connections
@test("log-connections of a domain: a line when a connection opens and when it ends")
def domain_connections(world):
    mx = world.mx()
    engine = world.engine(domain="log-connections yes")
    world.send()
    opened = wait_line(engine, "a.test/v1 #0.1: connected")
    ended = wait_line(engine, "ended:")
    way = f"from {world.address(101)} to {mx.address}"
    check_equal(opened, [f"a.test/v1 #0.1: connected {way} ({mx.address})"], "opened")
    check_equal(ended, [f"a.test/v1 #0.1: connection {way} ended: QUIT; messages sent: 1"], "ended")
    check_equal(lines(engine, "client 127"), [], "lines of the source")
    check_equal(said(engine, ">"), [], "commands")


@test("log-connections of a domain: why a connection failed")
def domain_connection_fails(world):
    world.mx(greeting="554 5.7.1 go\x07away")
    engine = world.engine(domain="log-connections yes")
    world.send()
    ended = wait_line(engine, "ended:")[0]
    check(ended.endswith("ended: 554 5.7.1 go\\x07away; messages sent: 0"), ended)


# effect: domain log-commands
@test("log-commands of a domain: each command and first line of a reply, cut, no content")
def domain_commands(world):
    world.mx(rcpt="250-first\n250 second", final="250 " + "y" * 400)
    engine = world.engine(domain="log-commands yes")
    world.send(content=make_content(subject=SECRET, body=SECRET.encode() + b"\r\n.dot\r\n"))
    engine.wait_records("d", 1)
    wait_line(engine, "> QUIT")
    sent, heard = said(engine, ">"), said(engine, "<")
    check_equal([line.split()[0] for line in sent if line != "."][:3], ["EHLO", "MAIL", "RCPT"],
                "commands")
    check("RCPT TO:<user@a.test>" in sent, sent)
    check("250 first" in heard, heard)
    check("250 " + "y" * 196 in heard, heard)
    check(SECRET not in engine.process.text(), "content is in the log")
    check_equal(lines(engine, "connected"), [], "lines of log-connections")


# effect: domain log-transfer-failures
@test("log-transfer-failures: a connection that breaks in the message or behind it")
def transfer_failures(world):
    quiet = world.mx(11, ["quiet.test"], body=Close())
    world.mx(12, ["a.test"], body=Close())
    world.mx(13, ["b.test"], final=Close())
    engine = world.engine(domain="retry-recipients-after 1h",
                          extra="<domain a.test>\n    log-transfer-failures yes\n</domain>\n"
                                "<domain b.test>\n    log-transfer-failures yes\n</domain>")
    for name in ("a", "b", "quiet"):
        world.send(f"u@{name}.test")
    engine.wait_records("t", 3)
    check(quiet.transactions, "the third was tried")
    broke = sorted(wait_line(engine, " broke ", 2))
    check_equal(len(broke), 2, "lines")
    check(broke[0].startswith("a.test/v1 #") and "<u@a.test>, recipients open: 1" in broke[0],
          broke[0])
    check(f"to {world.address(13)} broke after the end of the message: " in broke[1], broke[1])


# effect: source log-connections
@test("log-connections of a source: the client's address, name, end and count")
def source_connections(world):
    world.mx()
    engine = world.engine(source="log-connections yes")
    world.send()
    ended = wait_line(engine, "ended:")
    opened = lines(engine, "connected")
    check_equal(len(opened), 1, "lines of an opening")
    place = r"client 127\.0\.0\.1:\d+ \({}\) "
    check(re.fullmatch(place.format("") + f"connected to {world.net}.1:2525", opened[0]), opened)
    check(re.fullmatch(place.format("client.example.test") +
                       "ended: closed by the client; messages taken: 1", ended[0]), ended)
    check_equal(said(engine, "<"), [], "commands")


# effect: source log-commands
@test("log-commands of a source: commands and replies; no content, nothing behind AUTH")
def source_commands(world):
    world.mx()
    engine = world.engine(source="log-commands yes")
    with world.client() as client:
        client.hello()
        client.command(f"AUTH PLAIN {SECRET}")
        client.command("bmV2ZXIgaW4gYSBsb2c=")
        client.message("user@a.test", subject=SECRET)
        client.command("QUIT")
    wait_line(engine, "< QUIT")
    engine.wait_records("d", 1)
    heard, sent = said(engine, "<"), said(engine, ">")
    check_equal(heard, ["EHLO client.example.test", "AUTH (not shown)", "(no command)",
                        "MAIL FROM:<sender@in.test>", "RCPT TO:<user@a.test>", "DATA", "QUIT"],
                "heard")
    check_equal([line[:3] for line in sent],
                ["220", "250", "502", "500", "250", "250", "354", "250", "221"], "sent")
    check(SECRET not in engine.process.text() and "bmV2" not in engine.process.text(),
          "content or a secret is in the log")
    check_equal(lines(engine, "connected"), [], "lines of log-connections")


# effect: domain log-data
@test("log-data of a domain: all lines of replies, commands and content as sent, 16 KiB of it")
def domain_data(world):
    world.mx(rcpt="250-first\n250 sec\x07ond")
    engine = world.engine(domain="log-data yes")
    body = b"begin \x07\r\n.dot\r\n" + (b"z" * 60 + b"\r\n") * 400 + b"end\r\n"
    world.send(content=make_content(subject="shown", body=body))
    world.send("two@a.test", content=make_content(subject="again"))
    engine.wait_records("d", 2)
    wait_line(engine, "> QUIT")
    sent, heard = said(engine, ">"), said(engine, "<")
    check("RCPT TO:<user@a.test>" in sent and "Subject: shown\\x0D\\x0A" in sent, sent[:20])
    check("begin \\x07\\x0D\\x0A" in sent and "..dot\\x0D\\x0A" in sent, "the content as it is sent")
    count = sum(line.startswith("zzz") for line in sent)
    check(200 < count < 16384 / 62, f"{count} lines of the body")
    check("end\\x0D\\x0A" not in sent, "the end of a long message")
    check_equal(sent.count("(content beyond 16384 bytes is not shown)"), 1, "it is said once")
    check("Subject: again\\x0D\\x0A" in sent, "the next message")
    check_equal([heard.count(one + "\\x0D\\x0A") for one in ("250-first", "250 sec\\x07ond")], [2, 2],
                f"lines of the reply: {heard}")


# effect: source log-data
@test("log-data of a source: commands, content, all lines of replies; nothing behind AUTH")
def source_data(world):
    world.mx()
    engine = world.engine(source="log-data yes")
    with world.client() as client:
        client.hello()
        client.command(f"AUTH PLAIN {SECRET}")
        client.command("bmV2ZXIgaW4gYSBsb2c=")
        client.message("user@a.test", content=make_content(body=b"one\r\n.two\r\n"))
        client.expect("MAIL FROM:<s@in.test>", 250)
        client.expect("RCPT TO:<user@a.test>", 250)
        chunk = b"Subject: chunk\r\n\r\nthree\r\n"
        client.send(f"BDAT {len(chunk)} LAST\r\n".encode() + chunk
                    + f"AUTH PLAIN {SECRET}\r\n".encode())
        check_equal([client.reply()[:3] for _ in range(2)], ["250", "502"], "replies")
        client.command("QUIT")
    wait_line(engine, "< QUIT")
    engine.wait_records("d", 2)
    heard, sent = said(engine, "<"), said(engine, ">")
    for line in ("MAIL FROM:<s@in.test>", "one\\x0D\\x0A", "..two\\x0D\\x0A", ".\\x0D\\x0A",
                 "three\\x0D\\x0A", "AUTH (not shown)", "(no command)"):
        check(line in heard, lambda: f"{line} is not in {heard}")
    check(any(line.startswith("250-") for line in sent), "all lines of a reply")
    check(SECRET not in engine.process.text() and "bmV2" not in engine.process.text(),
          "a secret is in the log")


# effect: domain log-resolution
@test("log-resolution: the hosts and addresses that DNS gave, or why there are none")
def resolution(world):
    mx = world.mx()
    engine = world.engine(domain="log-resolution yes\nretry-after 1h",
                          extra="<domain no.test>\n    smtp-hosts none.invalid\n</domain>")
    world.send()
    world.send("u@no.test")
    found = wait_line(engine, "resolving", 2)
    check_equal([line for line in found if "a.test" in line],
                [f"a.test/v1: resolving a.test gave: {mx.address} (0) {mx.address}"], "found")
    failed, = [line for line in found if "no.test" in line]
    check(failed.startswith("no.test/v1: resolving no.test failed: "), failed)


def context_of(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    return context


# effect: domain log-tls
@test("log-tls: protocol, cipher and certificate of a handshake, or why it failed")
def tls(world):
    old = context_of(world)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    good = world.mx(11, ["a.test"], tls=context_of(world))
    bad = world.mx(12, ["b.test"], tls=old)
    engine = world.engine(domain="log-tls yes\nuse-starttls yes",
                          extra="<domain b.test>\n    smtp-tls-allow-tlsv1.2 no\n</domain>")
    world.send("u@a.test")
    world.send("u@b.test")
    engine.wait_records("d", 2)
    cipher = good.messages[0].session.tls.cipher()[0]
    way = "#[0-9.]+: TLS {}with " + re.escape(good.address)
    line, = [line for line in lines(engine, "TLS with") if line.startswith("a.test")]
    check(re.fullmatch(fr"a.test/v1 #[0-9.]+: TLS with {re.escape(good.address)} \(.*\): TLSv1.3, "
                       fr"{cipher}, certificate not verified", line), line)
    line, = lines(engine, "TLS handshake with")
    check(re.fullmatch(fr"b.test/v1 #[0-9.]+: TLS handshake with {re.escape(bad.address)} \(.*\) "
                       "failed: .+", line), line)


# effect: domain log-disabled-ips
@test("log-disabled-ips: each connection that passes a disabled source address over says so")
def disabled_ips(world):
    world.mx(mail=lambda session, _: "550 5.7.1 blocked" if session.hello.startswith("s1")
             else "250 2.1.0 ok")
    two = (f"<virtual-mta two>\nsmtp-source-host {world.net}.103 s1.example.test\n"
           f"smtp-source-host {world.net}.104 s2.example.test\n</virtual-mta>\n")
    engine = world.engine(
        globals="<smtp-pattern-list p>\n    reply /blocked/ disable-source-ip\n</smtp-pattern-list>",
        source="default-virtual-mta two", extra=two,
        domain="log-disabled-ips yes\nsmtp-pattern-list p\nreenable-source-ip-after 1h\n"
               "max-msg-per-connection 1")
    for i in range(4):
        world.send(f"u{i}@a.test")
        wait_for(lambda: len(engine.records("d", "b")) == i + 1, "an outcome")
    found = wait_line(engine, "passed over", 2)
    for line in found:
        check(re.fullmatch(fr"a.test/two: source address {re.escape(world.net)}.103 is passed over: "
                           r"disabled for 3[56]\d\d s more", line), line)


@test("log-commands: 1000 lines a second, then how many were left out")
def bounded(world):
    world.mx()
    engine = world.engine(source="log-commands yes")
    count = 900
    with world.client() as client:
        client.hello()
        client.expect("MAIL FROM:<sender@in.test>", 250)
        client.send("".join(f"RCPT TO:<u{i}@a.test>\r\n" for i in range(count)))
        for _ in range(count):
            client.reply()
        client.command("QUIT")
    text = wait_line(engine, "were left out")
    left_out = sum(int(line.split()[0]) for line in text)
    written = len(said(engine, "<")) + len(said(engine, ">"))
    check_equal(written + left_out, 1 + 2 * (3 + count), "lines written and left out")
    check(written >= 1000, f"only {written} were written")


# effect: global log-rotate
@test("rotate log, log-rotate: so many old files stay; rotate acct begins accounting files")
def rotate(world):
    world.mx()
    log = world.work / "engine.log"
    engine = world.engine(globals=f"log-file {log}\nlog-rotate 2", domain="log-connections yes",
                          extra=f"<acct-file {world.work}/own.csv>\n</acct-file>\n")
    for i in range(4):
        world.send(f"u@{'abcd'[i]}.test")
        wait_for(lambda: f"{'abcd'[i]}.test/v1 #" in log.read_text(), "a line")
        engine.wait_records("d", i + 1)
        check_equal(engine.command("rotate", "log"), (0, "rotated\n", ""), "the command")
    old = sorted(world.work.glob("engine.log*"))
    check_equal([path.name for path in old], ["engine.log", "engine.log.1", "engine.log.2"], "files")
    check("d.test/v1 #" in old[1].read_text(), "the newest old file")
    check("c.test/v1 #" in old[2].read_text(), "the one before")
    check_equal(engine.command("rotate", "acct")[0], 0, "the other command")
    wait_for(lambda: len(list(world.work.glob("own-*.csv"))) == 2, "the next accounting file")


@test("rotate log: without a log-file it says so")
def rotate_nothing(world):
    engine = world.engine()
    code, _, errors = engine.command("rotate", "log")
    check(code == 69 and "no log-file" in errors, f"{code} {errors}")


# effect: global log-auto-rotation
@test("log-auto-rotation: a log of an earlier day becomes an old one at the start")
def rotate_by_day(world):
    for words, files in (("no", 1), ("yes", 2)):
        log = world.work / f"{words}.log"
        log.write_text("of yesterday\n")
        then = time.time() - 86400
        os.utime(log, (then, then))
        engine = world.engine(globals=f"log-file {log}\nlog-auto-rotation {words}")
        wait_for(lambda: len(list(world.work.glob(f"{words}.log*"))) == files, "files")
        engine.stop()
        check_equal(len(list(world.work.glob(f"{words}.log*"))), files, "files")
        check_equal("of yesterday" in log.read_text(), words == "no", "old lines")


@test("log-file: one that cannot be written ends the start with its reason")
def bad_log_file(world):
    engine = world.engine(start=False, globals=f"log-file {world.work}/none/engine.log")
    code, _, errors = engine.command("run")
    check(code == 73 and "No such file or directory" in errors, f"{code} {errors}")


@test("logging: nothing of connections is in the log where nobody asked")
def off(world):
    world.mx(11, ["a.test"])
    world.mx(12, ["b.test"], final=Close())
    engine = world.engine()
    world.send("u@a.test")
    world.send("u@b.test")
    engine.wait_records("d", 1)
    engine.wait_records("t", 1)
    text = engine.process.text()
    for word in ("connected", "ended:", " < ", " > ", " broke "):
        check(word not in text, lambda: f"{word!r} is in the log: {text[-2000:]}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
