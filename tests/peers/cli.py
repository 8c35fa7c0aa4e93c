#!/usr/bin/env python3
"""The command line against a daemon that this test plays: a Unix socket with canned replies.

    tests/peers/cli.py POSTHASTE [--write]

Prints a line per check and "N passed, N failed". Tables are compared with tests/peers/cli_golden;
--write writes them anew."""

import json
import os
import pty
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GOLDEN = Path(__file__).parent / "cli_golden"
OK, USAGE, UNKNOWN, UNAVAILABLE, IO_ERROR, AGAIN, DENIED, CONFIG = 0, 64, 68, 69, 74, 75, 77, 78


class Daemon:
    """Answers each request with what `replies` holds for its command, and remembers requests."""

    def __init__(self, path):
        self.path = str(path)
        self.requests = []
        self.replies = {}
        self.raw = None      # bytes sent instead of a reply
        self.delay = 0       # seconds before an answer
        self.chunk = 1 << 20  # bytes of one write
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client):
        with client:
            line = b""
            while not line.endswith(b"\n"):
                got = client.recv(65536)
                if not got:
                    return
                line += got
            request = json.loads(line)
            self.requests.append(request)
            time.sleep(self.delay)
            if self.raw is not None:
                text = self.raw
            else:
                reply = self.replies.get(request["command"], {"status": "success"})
                text = json.dumps(reply).encode() + b"\n"
            try:
                for at in range(0, len(text), self.chunk):
                    client.sendall(text[at:at + self.chunk])
            except OSError:
                pass  # the client has seen enough


class Cli:
    def __init__(self, program, work):
        self.program = program
        self.work = Path(work)
        self.config = self.work / "posthaste.conf"
        self.socket = self.work / "control.sock"
        self.config.write_text(f"control-socket {self.socket}\n")
        self.daemon = Daemon(self.socket)
        self.passed = self.failed = 0

    def run(self, *words, config=None):
        """(exit code, standard output, standard error), as text."""
        done = subprocess.run([self.program, "-c", str(config or self.config), *words],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return (done.returncode, done.stdout.decode("utf-8", "backslashreplace"),
                done.stderr.decode("utf-8", "backslashreplace"))

    def reset(self):
        daemon = self.daemon
        daemon.requests, daemon.replies, daemon.raw = [], {}, None
        daemon.delay, daemon.chunk = 0, 1 << 20

    def check(self, name, condition, *seen):
        if condition:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED: {name}")
        for one in seen:
            print("    " + str(one).replace("\n", "\n    "))

    def golden(self, name, text, write):
        path = GOLDEN / f"{name}.txt"
        if write:
            path.write_text(text)
        wanted = path.read_text() if path.exists() else ""
        self.check(f"{name} looks as in {path.name}", text == wanted, text, "wanted:", wanted)


def queue(name, **more):
    return {"name": name, "rcpts": 0, "ready": 0, "bytes": 0, "connections": 0, "delivered": 0,
            "deferred": 0, "bounced": 0, "paused": False, "orphaned": False, "retryInMs": 0,
            "lastError": "", **more}


QUEUES = [
    queue("gmail.com/marketing", rcpts=1204332, ready=1200, bytes=49387634688, connections=20,
          delivered=3456789, deferred=1234, bounced=56, retryInMs=0,
          lastError="421 4.7.28 Our system has detected an unusual rate of mail",
          lastErrorAgeMs=125000),
    queue("yahoo.com/marketing", rcpts=20, bytes=81920, paused=True, retryInMs=300000),
    queue("example.org/gone", rcpts=3, ready=3, bytes=700, orphaned=True),
    queue("a-domain-name-that-is-rather-long.and-goes-on.example.net/transactional", rcpts=1,
          ready=1, bytes=2300),
]
STATUS = {
    "status": "success", "version": "0.1.0", "state": "running", "workers": 8,
    "uptimeMs": 273600000,
    "traffic": {"messagesIn": 1234567, "rcptsIn": 2345678, "messagesRefused": 12,
                "delivered": 2000000, "deferred": 12345, "bounced": 1234},
    "connections": {"in": 12, "out": 345, "opened": 45678},
    "queue": {"rcpts": 345678, "queues": 1234},
    "spool": {"segments": 12, "segmentsFree": 3, "bytesUsed": 1288490188, "bytesLive": 966367641,
              "bytesMax": 53687091200, "messages": 34567, "recipients": 34888, "syncs": 12345,
              "syncFailures": 0, "damagedRecords": 0, "reclaimedSegments": 45, "hold": ""},
    "memoryBytes": 734003200,
}


def check_tables(cli, write):
    cli.reset()
    replies = cli.daemon.replies
    replies["show queues"] = {"status": "success", "queues": QUEUES, "total": len(QUEUES)}
    replies["show topqueues"] = {"status": "success", "queues": QUEUES[:2], "total": 1234}
    replies["show queue"] = {"status": "success", "queues": QUEUES[:1], "total": 1}
    sums = [{key: row[key] for key in ("rcpts", "ready", "bytes", "connections", "delivered",
                                       "deferred", "bounced")} for row in QUEUES]
    replies["show domains"] = {"status": "success", "total": 2, "domains": [
        {"name": "gmail.com", **sums[0]}, {"name": "yahoo.com", **sums[1]}]}
    replies["show topdomains"] = {**replies["show domains"], "total": 77}
    replies["show providers"] = {"status": "success", "total": 2, "providers": [
        {"name": "google", **sums[0], "maxSmtpOut": "100", "maxMsgRate": "20000/h",
         "maxConnectRate": "unlimited"},
        {"name": "yahoo", **sums[1], "maxSmtpOut": "unlimited", "maxMsgRate": "unlimited",
         "maxConnectRate": "5/m"}]}
    replies["show vmtas"] = {"status": "success", "total": 1,
                             "vmtas": [{"name": "marketing", **sums[0]}]}
    replies["show status"] = STATUS
    replies["show version"] = {"status": "success", "version": "0.0.1", "io": "io_uring, recv"}
    replies["show settings"] = {"status": "success", "orphaned": False, "settings": [
        {"name": "max-smtp-out", "value": "20", "file": "/etc/posthaste/posthaste.conf",
         "line": 12, "inEffect": True},
        {"name": "retry-after", "value": "10m,20m", "file": "", "line": 0, "inEffect": True},
        {"name": "use-dane", "value": "no", "file": "", "line": 0, "inEffect": False}]}
    replies["resolve"] = {"status": "success", "domain": "gmail.com", "hosts": [
        {"host": "gmail-smtp-in.l.google.com", "preference": 5,
         "addresses": ["142.250.27.27:25", "[2a00:1450:4025:401::1a]:25"]},
        {"host": "alt1.gmail-smtp-in.l.google.com", "preference": 10, "addresses": []}]}
    for words in ("reload", "drain", "rotate log", "rotate acct"):
        replies[words] = {"status": "success"}
    replies["pause queue"] = replies["schedule"] = {"status": "success", "queues": 1}
    replies["resume queue"] = {"status": "success", "queues": 2, "pauses": 1, "stillPaused": 0}
    for words in ("show queues", "show topqueues", "show queue gmail.com/marketing",
                  "show domains", "show topdomains", "show providers", "show vmtas", "show status", "show version",
                  "show settings gmail.com/marketing", "resolve gmail.com", "reload", "drain",
                  "rotate log", "rotate acct",
                  "pause queue gmail.com/marketing", "resume queue */marketing",
                  "schedule gmail.com/marketing"):
        code, out, err = cli.run(*words.split())
        cli.check(f"{words}: exit 0", code == OK and err == "", code, err)
        cli.golden(words.split("/")[0].replace(" ", "-").replace("*", "any"), out, write)


RULE = {"pattern": "/\\bno such user\\b/", "file": "/etc/posthaste/posthaste.conf", "line": 12}
SORTED = {"status": "success", "subject": "5.1.1;smtp;550 5.1.1 no such user",
          "category": "bad-mailbox", "class": "hard"}


def check_replies(cli, write):
    action = {**RULE, "pattern": "/try again/", "line": 31, "tooCostly": False,
              "actions": "retry-as-told trigger=3/10m", "inEffect": False, "waitMs": 300000}
    words = ["test-bounce", "550 5.1.1 no such user"]
    for name, more, reply in (
            ("rule", [], {"rule": {**RULE, "tooCostly": False}}),
            ("codes", [], {}),
            ("costly", [], {"category": "other", "rule": {**RULE, "tooCostly": True}}),
            ("queue", ["gmail.com/v"], {"smtpPatternList": "careful", "action": action}),
            ("queue-in-effect", ["gmail.com"],
             {"smtpPatternList": "careful",
              "action": {**action, "actions": "skip-mx", "inEffect": True, "waitMs": None}}),
            ("queue-costly", ["gmail.com"],
             {"smtpPatternList": "careful", "action": {**action, "tooCostly": True}}),
            ("queue-unmatched", ["gmail.com"], {"smtpPatternList": "careful"}),
            ("queue-without-list", ["gmail.com"], {"smtpPatternList": ""}),
            ("hostile", [], {"subject": "5.0.0;smtp;550 \x1b[31m\u202e", "rule": {
                **RULE, "pattern": "/\x1b/", "file": "a\nb"}})):
        cli.reset()
        answer = {**SORTED, **reply}
        if answer.get("action"):
            answer["action"] = {key: value for key, value in answer["action"].items()
                                if value is not None}
        cli.daemon.replies["test-bounce"] = answer
        code, out, err = cli.run(*words, *more)
        cli.check(f"test-bounce, {name}: exit 0", code == OK and err == "", code, err)
        cli.golden(f"test-bounce-{name}", out, write)
    cli.daemon.replies["test-bounce"] = {"status": "success", "rule": 7, "smtpPatternList": [],
                                         "action": "x"}
    code, out, err = cli.run(*words)
    cli.check("test-bounce: members of another type print", code == OK and err == "", out, err)
    cli.daemon.replies["test-bounce"] = {"status": "error", "code": 68, "message": "no v"}
    code, out, err = cli.run(*words, "gmail.com/v")
    cli.check("test-bounce of an unknown virtual MTA", code == UNKNOWN and "no v" in err, code, err)


def check_trouble(cli, write):
    cli.reset()
    spool = {**STATUS["spool"], "hold": "the disk is full", "syncFailures": 2, "damagedRecords": 1}
    del spool["bytesMax"]
    cli.daemon.replies["show status"] = {**STATUS, "state": "draining", "spool": spool,
                                         "traffic": {**STATUS["traffic"], "costlyReplies": 7}}
    code, out, _ = cli.run("show", "status")
    cli.check("a status with trouble is still an answer", code == OK, code)
    cli.golden("show-status-trouble", out, write)
    cli.daemon.replies["show status"] = {"status": "success"}
    code, out, err = cli.run("show", "status")
    cli.check("a status without members prints", code == OK and "queued" in out, code, out, err)
    cli.daemon.replies["show queues"] = {"status": "success", "queues": [1, "x", None, {}]}
    code, out, err = cli.run("show", "queues")
    cli.check("rows of another type print", code == OK and "recipients" in out, code, out, err)


def check_requests(cli):
    for words, wanted in (
            (["show", "queues"], {"command": "show queues", "maxitems": 1000}),
            (["show", "topqueues", "--maxitems=5"], {"command": "show topqueues", "maxitems": 5}),
            (["show", "topdomains"], {"command": "show topdomains", "maxitems": 20}),
            (["show", "providers"], {"command": "show providers", "maxitems": 1000}),
            (["show", "queues", "*/mta1"],
             {"command": "show queues", "queue": "*/mta1", "maxitems": 1000}),
            (["pause", "queue", "GMail.com/MTA1"],
             {"command": "pause queue", "queue": "gmail.com/MTA1"}),
            (["resume", "queue", "gmail.com"],
             {"command": "resume queue", "queue": "gmail.com/{default}"}),
            (["schedule", "*"], {"command": "schedule", "queue": "*/{default}"}),
            (["resolve", "münchen.example"],
             {"command": "resolve", "queue": "xn--mnchen-3ya.example"}),
            (["test-bounce", "550 no"], {"command": "test-bounce", "reply": "550 no"}),
            (["test-bounce", "-1", "A.com"],
             {"command": "test-bounce", "reply": "-1", "queue": "a.com/{default}"}),
            (["test-bounce", "550 " + "\xfc\x01" * 2000],
             {"command": "test-bounce", "reply": "550 " + "\xfc\x01" * 365 + "\ufffd"}),
            (["list", "--queue=A.com", "--orig=<>", "--maxitems=7"],
             {"command": "list", "queue": "a.com/{default}", "orig": "<>", "maxitems": 7}),
            (["delete", "--rcpt=*@b", "--jobId=J", "--envId=E", "--older-than=2h", "--dry-run"],
             {"command": "delete", "rcpt": "*@b", "jobId": "J", "envId": "E",
              "olderThanMs": 7200000, "dryRun": True}),
            (["pause", "job", "A b"], {"command": "pause job", "jobId": "A b"}),
            (["show", "jobs"], {"command": "show jobs", "maxitems": 1000}),
            (["reload"], {"command": "reload"}),
            (["--json", "show", "status"], {"command": "show status"})):
        cli.reset()
        cli.run(*words)
        cli.check(f"{' '.join(words)}: the request", cli.daemon.requests == [wanted],
                  cli.daemon.requests, wanted)


def check_usage(cli):
    cli.reset()
    for words in ([], ["show"], ["show", "nonsense"], ["frobnicate"], ["pause"], ["pause", "queue"],
                  ["pause", "queue", "a/b/c"], ["pause", "queue", "/v"], ["pause", "queue", "a/"],
                  ["pause", "queue", "x" * 600], ["pause", "queue", "a/b", "c/d"],
                  ["test-bounce"], ["test-bounce", "550 no", "*/v"],
                  ["test-bounce", "550", "no", "such"], ["test-bounce", "550 no", "a/b/c"],
                  ["show", "settings", "*/v"], ["show", "settings"], ["resolve"],
                  ["resolve", "a/b"], ["resolve", "*"], ["reload", "now"],
                  ["show", "queues", "--maxitems=0"], ["show", "queues", "--maxitems=x"],
                  ["show", "queues", "--maxitems"], ["show", "status", "--maxitems=3"],
                  ["delete"], ["delete", "--dry-run"], ["delete", "--rcpt="], ["list", "a.com/v"],
                  ["list", "--dry-run"], ["delete", "--maxitems=3", "--rcpt=a"],
                  ["show", "status", "--timeout=0"], ["show", "status", "--frob"], ["-c"]):
        code, out, err = cli.run(*words)
        cli.check(f"{' '.join(words)[:60]!r}: usage, said on standard error",
                  code == USAGE and out == "" and err != "", code, out, err)
    cli.check("nothing was asked of the daemon", cli.daemon.requests == [], cli.daemon.requests)
    code, out, _ = cli.run("--help")
    cli.check("--help lists every command", code == OK and "show topqueues" in out, code, out)
    for line in out.splitlines():
        if line.startswith("  ") and not line.startswith("  -"):
            words = [word for word in line[:42].split() if word.islower() and word.replace("-", "").isalpha()]
            code, text, err = cli.run(*words, "--help")
            paragraph = text.split("\n\n")[-1]
            cli.check(f"{' '.join(words)} --help: one paragraph",
                      code == OK and len(paragraph) > 60 and err == "" and
                      all(len(one) <= 100 for one in text.splitlines()), code, text, err)
    code, out, _ = cli.run("--version")
    cli.check("--version", code == OK and out.startswith("posthaste "), code, out)
    code, out, _ = cli.run("show", "--help")
    cli.check("show --help lists what can be shown", code == OK and "show vmtas" in out, code, out)


def check_unknown_names(cli):
    for command, words, reply, wanted in (
            ("show queue", "show queue a.com/v", {"queues": [], "total": 0}, UNKNOWN),
            ("show queue", "show queue *.com/v", {"queues": [], "total": 0}, OK),
            ("show queues", "show queues a.com/v", {"queues": [], "total": 0}, UNKNOWN),
            ("show queues", "show queues", {"queues": [], "total": 0}, OK),
            ("schedule", "schedule a.com/v", {"queues": 0}, UNKNOWN),
            ("schedule", "schedule *.com/v", {"queues": 0}, OK),
            ("pause queue", "pause queue a.com/v", {"queues": 0, "vmtaKnown": True}, OK),
            ("pause queue", "pause queue a.com/v", {"queues": 0, "vmtaKnown": False}, UNKNOWN),
            ("pause queue", "pause queue a.com/v", {"queues": 1, "vmtaKnown": False}, OK),
            ("pause queue", "pause queue */v", {"queues": 0}, OK),
            ("resume queue", "resume queue a.com/v", {"queues": 0, "pauses": 0}, UNKNOWN),
            ("resume queue", "resume queue a.com/v", {"queues": 0, "pauses": 1}, OK),
            ("resume queue", "resume queue a.com/v",
             {"queues": 1, "pauses": 0, "stillPaused": 1, "pausedBy": "*/v"}, UNKNOWN),
            ("resume job", "resume job a", {"rcpts": 0, "wasPaused": False}, UNKNOWN),
            ("resume job", "resume job a", {"rcpts": 0, "wasPaused": True}, OK),
            ("show settings", "show settings a.com/v", {"orphaned": True, "settings": []}, UNKNOWN),
            ("resolve", "resolve a.com", {"failure": "550 5.1.2 no such domain"}, UNKNOWN),
            ("resolve", "resolve a.com", {"failure": "450 4.4.3 name servers are silent"}, AGAIN)):
        cli.reset()
        cli.daemon.replies[command] = {"status": "success", **reply}
        code, out, err = cli.run(*words.split())
        cli.check(f"{words} with {reply}: exit {wanted}",
                  code == wanted and (err != "") == (wanted != OK), code, out, err)
        cli.check(f"{words} with {reply}: one line of error", err.count("\n") <= 1, err)
        code, out, _ = cli.run("--json", *words.split())
        cli.check(f"--json {words} with {reply}: the same code, the reply on standard output",
                  code == wanted and json.loads(out) == {"status": "success", **reply}, code, out)


def check_probe(cli, write):
    cli.reset()
    for words, wanted in ((["good.test"], OK), (["good.test", "bad.test"], UNAVAILABLE),
                          (["nowhere.test"], UNAVAILABLE), ([], UNAVAILABLE),
                          (["--vmta", "v9", "good.test"], UNKNOWN),
                          (["--vmta", "{default}", "good.test"], OK),
                          (["GOOD.test", "--port=465", "--timeout=5"], OK)):
        code, out, err = cli.run("probe", *words)
        cli.check(f"probe {' '.join(words)}: exit {wanted}", code == wanted and
                  (err != "") == (wanted == UNKNOWN), code, out, err)
    everything = ["good.test", "bad.test", "rude.test", "none.test"]
    code, out, err = cli.run("probe", *everything)
    cli.check("probe: all verdicts, not all of them good", code == UNAVAILABLE and err == "", err)
    cli.check("probe: what a peer said is escaped", is_clean(out) and "\\x1b" in out, out)
    cli.golden("probe", out, write)
    code, out, err = cli.run("--json", "probe", *everything)
    answer = json.loads(out)
    cli.check("--json probe: the same code, the same as an object", code == UNAVAILABLE and
              err == "" and [one["result"] for one in answer["probes"]] ==
              ["ok", "unused", "failed", "failed", "failed"] and
              (answer["ok"], answer["unused"], answer["failed"]) == (1, 1, 3), out, err)
    for words in (["--port", "0"], ["--port=65536"], ["--port"], ["--vmta"], ["a/b"], ["*.test"],
                  ["u@a.test"], ["--timeout=0"], ["--frob"], [""], ["x" * 300]):
        code, out, err = cli.run("probe", *words)
        cli.check(f"probe {' '.join(words)[:60]!r}: usage, said on standard error",
                  code == USAGE and out == "" and "usage: posthaste probe" in err, code, out, err)
    cli.check("probe asks no daemon", cli.daemon.requests == [], cli.daemon.requests)


def check_outside(cli):
    cli.reset()
    code, out, err = cli.run("check", "--dns")
    cli.check("check --dns: a warning is no error, hostile names are escaped", code == OK and
              is_clean(err) and err.startswith("posthaste.conf:7: warning: virtual MTA v1: ") and
              "a\\x1b[2J.test" in err and out.endswith(": 0 errors, 1 warnings\n"), code, out, err)
    code, _, err = cli.run("check", "--dns", "--strict")
    cli.check("check --dns --strict: exit 78", code == CONFIG, code, err)
    code, out, err = cli.run("check", "--strict")
    cli.check("check without --dns asks nobody", code == OK and err == "", code, out, err)
    code, out, err = cli.run("--json", "check", "--dns")
    cli.check("--json check --dns: the same as a message", code == OK and err == "" and
              json.loads(out)["messages"][0]["line"] == 7, code, out, err)


def check_refusals(cli):
    cli.reset()
    message = "/etc/p.conf:3:1: unknown directive 'x' (errors: 2; posthaste -c /etc/p.conf check)"
    cli.daemon.replies["reload"] = {"status": "error", "code": 78, "message": message}
    code, out, err = cli.run("reload")
    cli.check("a refused reload says the first error and that the old one stays",
              code == CONFIG and out == "" and message in err and "old configuration stays" in err,
              code, out, err)
    for sent, wanted in ((75, AGAIN), (64, USAGE), (2, IO_ERROR), (0, IO_ERROR), (-1, IO_ERROR),
                         ("x", IO_ERROR), (255, IO_ERROR)):
        cli.daemon.replies["drain"] = {"status": "error", "code": sent, "message": "because"}
        code, out, err = cli.run("drain")
        cli.check(f"an error of code {sent} is exit {wanted}", code == wanted and "because" in err,
                  code, err)
    cli.daemon.replies["drain"] = {"status": "error"}
    code, _, err = cli.run("drain")
    cli.check("an error without a message", code == IO_ERROR and err != "", code, err)
    cli.daemon.replies["drain"] = {"no": "status"}
    code, _, err = cli.run("drain")
    cli.check("a reply without a status is no success", code == IO_ERROR, code, err)


def check_json(cli):
    cli.reset()
    cli.daemon.raw = b'{ "status":"success",  "odd": [1, 2.50, "\xc3\xa9"] , "queues":[]}\n'
    code, out, err = cli.run("show", "queues", "--json")
    cli.check("--json prints the reply as it is", code == OK and
              out.encode() == cli.daemon.raw and err == "", code, out, err)
    cli.daemon.raw = b'{"status":"error","code":75,"message":"busy"}\n'
    code, out, err = cli.run("reload", "--json")
    cli.check("--json prints a refusal too", code == AGAIN and out.encode() == cli.daemon.raw and
              "busy" in err, code, out, err)


def check_reach(cli):
    cli.reset()
    gone = cli.work / "gone.conf"
    gone.write_text(f"control-socket {cli.work}/nobody.sock\n")
    code, out, err = cli.run("show", "status", config=gone)
    cli.check("no socket there: exit 69, which socket and what to do", code == UNAVAILABLE and
              "nobody.sock" in err and "systemctl status" in err and out == "", code, err)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(cli.work / "dead.sock"))
    dead.close()
    gone.write_text(f"control-socket {cli.work}/dead.sock\n")
    code, _, err = cli.run("show", "status", config=gone)
    cli.check("a socket without a daemon: exit 69", code == UNAVAILABLE, code, err)
    gone.write_text(f"control-socket /tmp/{'x' * 120}\n")
    code, _, err = cli.run("show", "status", config=gone)
    cli.check("a path longer than a socket's: exit 78", code == CONFIG, code, err)
    code, _, err = cli.run("show", "status", config=cli.work / "none.conf")
    cli.check("a configuration file named that is not there: exit 78", code == CONFIG and
              "none.conf" in err, code, err)
    if os.geteuid() != 0:
        os.chmod(cli.socket, 0)
        code, _, err = cli.run("show", "status")
        os.chmod(cli.socket, 0o660)
        cli.check("no permission: exit 77", code == DENIED, code, err)
    cli.daemon.delay = 3
    begin = time.monotonic()
    code, _, err = cli.run("show", "status", "--timeout=1")
    cli.check("a slow daemon: exit 75 after --timeout", code == AGAIN and
              time.monotonic() - begin < 2.5 and "1 s" in err, code, err)
    cli.reset()
    cli.daemon.raw = b""
    code, _, err = cli.run("show", "status")
    cli.check("closed before the answer: exit 75", code == AGAIN, code, err)
    cli.daemon.raw = b'{"status":"succ'
    code, _, err = cli.run("show", "status")
    cli.check("closed within the answer: exit 75", code == AGAIN, code, err)


def check_hurt_configurations(cli):
    cli.reset()
    cli.daemon.replies["show version"] = {"status": "success", "version": "1", "io": "x"}
    config = cli.work / "hurt.conf"
    (cli.work / "more").mkdir()
    (cli.work / "more" / "a.conf").write_text(f"control-socket \"{cli.socket}\"  # here\n")
    for name, text in (
            ("with errors in it", f"frobnicate\n<domain *>\ncontrol-socket {cli.socket}\n<\n"),
            ("with the last of two", f"control-socket /x\nCONTROL-Socket {cli.socket}\n"),
            ("in an included file", "include more/*.conf\n"),
            ("in a file that includes itself", f"include hurt.conf\ncontrol-socket {cli.socket}\n"),
            ("with a file missing", f"control-socket {cli.socket}\ninclude nothing.conf\n")):
        config.write_text(text)
        code, _, err = cli.run("show", "version", config=config)
        cli.check(f"a configuration {name} leads to the socket", code == OK and err == "", code,
                  err)


def check_huge(cli):
    cli.reset()
    rows = [queue(f"d{i}.example/v", rcpts=i) for i in range(30000)]
    cli.daemon.replies["show queues"] = {"status": "success", "queues": rows, "total": 99999}
    cli.daemon.chunk = 1000
    code, out, err = cli.run("show", "queues", "--maxitems=30000")
    cli.check("30,000 rows arrive in pieces", code == OK and out.count("\n") == 30002 and
              "30000 of 99999" in out, code, out[-200:], err)
    cli.reset()
    cli.daemon.raw = b'{"status":"success","x":"' + b"y" * (9 << 20) + b'"}\n'
    code, out, err = cli.run("--json", "show", "queues")
    cli.check("an answer over the limit: exit 74", code == IO_ERROR and out == "", code, err)
    cli.daemon.raw = b"y" * (9 << 20)
    code, _, err = cli.run("show", "queues")
    cli.check("a line without end: exit 74", code == IO_ERROR, code, err)
    with open("/dev/full", "w") as full:
        cli.reset()
        cli.daemon.replies["show status"] = STATUS
        done = subprocess.run([cli.program, "-c", str(cli.config), "show", "status"], stdout=full,
                              stderr=subprocess.PIPE)
        cli.check("no room for the output: exit 74", done.returncode == IO_ERROR, done)


# Each must not arrive on a terminal as it is.
HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp.exe \u2028 \x7f \r\n\t end"


def is_clean(text):
    return not any(ord(one) < 0x20 and one != "\n" or 0x7F <= ord(one) < 0xA0 or
                   one in "\u2028\u202e\r" for one in text)


def check_hostile(cli, write):
    cli.reset()
    replies = cli.daemon.replies
    replies["show queues"] = {"status": "success", "total": 1, "queues": [
        queue(HOSTILE + "/v", lastError=HOSTILE, lastErrorAgeMs=1000, rcpts=2**53)]}
    replies["show queue"] = replies["show queues"]
    replies["resolve"] = {"status": "success", "hosts": [
        {"host": HOSTILE, "preference": -1, "addresses": [HOSTILE, 7]}]}
    replies["show settings"] = {"status": "success", "settings": [
        {"name": HOSTILE, "value": HOSTILE, "file": HOSTILE, "line": 1}]}
    replies["show version"] = {"status": "success", "version": HOSTILE, "io": HOSTILE}
    replies["show status"] = {**STATUS, "state": HOSTILE, "version": HOSTILE,
                              "spool": {"hold": HOSTILE}}
    replies["drain"] = {"status": "error", "code": 75, "message": HOSTILE}
    replies["resume queue"] = {"status": "success", "stillPaused": 1, "pausedBy": HOSTILE}
    for words in ("show queues", "show queue a/v", "resolve a.com", "show settings a/v",
                  "show version", "show status", "drain", "resume queue a/v"):
        _, out, err = cli.run(*words.split())
        cli.check(f"{words}: hostile bytes are escaped", is_clean(out + err) and "\\x1b" in out + err
                  and err.count("\n") <= 1, out, err)
    _, out, _ = cli.run("show", "queues")
    cli.golden("hostile", out, write)
    for name, raw in (("no JSON", b"\x1b[31mHTTP/1.0 400\n"), ("an empty line", b"\n"),
                      ("no UTF-8", b'{"status":"success","x":"\xff\xfe"}\n'),
                      ("a NUL", b'{"status":"suc\x00cess"}\n'), ("an array", b"[1]\n"),
                      ("deep nesting", b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"\n"),
                      ("a number too big", b'{"status":"success","x":18446744073709551615}\n')):
        cli.reset()
        cli.daemon.raw = raw
        code, out, err = cli.run("show", "queues")
        cli.check(f"an answer with {name}: exit 74, escaped", code == IO_ERROR and
                  is_clean(out + err) and err.count("\n") == 1, code, out, err)


def read_terminal(command):
    """What the command writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    os.system(f"stty cols 80 < {os.ttyname(follower)}")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower):
        os.close(follower)
        out = b""
        while True:
            try:
                got = os.read(leader, 65536)
            except OSError:
                break
            if not got:
                break
            out += got
    os.close(leader)
    return out.decode()


def check_terminal(cli):
    cli.reset()
    rows = [queue("a.com/v", lastError="451 " + "x" * 300)]
    cli.daemon.replies["show queues"] = {"status": "success", "queues": rows, "total": 1}
    out = read_terminal([cli.program, "-c", str(cli.config), "show", "queues"])
    errors = [line.rstrip("\r") for line in out.split("\n") if "xxx" in line]
    cli.check("on a terminal the last error ends where the line ends",
              len(errors) == 1 and len(errors[0]) == 80, out)
    cli.daemon.raw = '{"status":"success","x":"\x9b31m"}\n'.encode()
    out = read_terminal([cli.program, "-c", str(cli.config), "--json", "show", "queues"])
    cli.check("on a terminal --json escapes what JSON lets pass",
              out.strip() == '{"status":"success","x":"\\u009b31m"}', out)


def main():
    write = "--write" in sys.argv
    with tempfile.TemporaryDirectory() as work:
        cli = Cli(sys.argv[1], work)
        check_tables(cli, write)
        check_replies(cli, write)
        check_trouble(cli, write)
        check_requests(cli)
        check_usage(cli)
        check_unknown_names(cli)
        check_probe(cli, write)
        check_outside(cli)
        check_refusals(cli)
        check_json(cli)
        check_reach(cli)
        check_hurt_configurations(cli)
        check_huge(cli)
        check_hostile(cli, write)
        check_terminal(cli)
        print(f"{cli.passed} passed, {cli.failed} failed")
    return 1 if cli.failed else 0


if __name__ == "__main__":
    sys.exit(main())
