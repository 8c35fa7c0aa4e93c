#!/usr/bin/env python3
"""Who we are to receiving hosts: AUTH and certificates of our own, seen at the peer.

    tests/peers/policy_auth.py BUILD [NAME…]"""
import base64
import ssl
import sys
import time

from harness import check, check_equal, main, make_certificate, test, wait_for
from mx import CAPABILITIES, Authenticate

USER, PASSWORD = "relay@in.test", "open sesame #1"
KNOWN = f'auth-username {USER}\n    auth-password "{PASSWORD}"\n    retry-after 1h\n'
ALL = (*CAPABILITIES, "AUTH CRAM-MD5 LOGIN PLAIN")
CLEAR = (*CAPABILITIES, "AUTH LOGIN PLAIN")


def with_tls(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    return context


def said(mx):
    """What was said of AUTH, over all sessions."""
    return [one.line.partition(b" ")[2].partition(b" ")[0].decode()
            for session in mx.sessions for one in session.commands if one.verb == "AUTH"]


def users(mx):
    return [session.user for session in mx.sessions]


# effect: domain auth-username
# effect: domain auth-password
@test("behaviour 33 auth_deliver: PLAIN over TLS, before any mail")
def auth_deliver(world):
    mx = world.mx(tls=with_tls(world), capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    engine = world.engine(domain=KNOWN)
    world.send()
    engine.wait_records("d", 1)
    check_equal((said(mx), users(mx)), (["PLAIN"], [USER]), "AUTH")
    verbs = [one.verb for one in mx.sessions[0].commands]
    check_equal(verbs[:5], ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"], "commands")


@test("behaviour 33 auth_deliver: invalid_password defers what waits, at one host once")
def invalid_password(world):
    first = world.mx(11, capabilities=ALL, auth=Authenticate(USER, "another"))
    second = world.mx(12, capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    world.route("a.test", first, second)
    engine = world.engine(domain=KNOWN)
    world.send()
    record = engine.wait_records("tq", 1)[0]
    check_equal((record["dsnStatus"][:5], record["dsnDiag"]),
                ("4.7.8", "smtp;421 4.7.8 AUTH was refused: 535 5.7.8 wrong"), "record")
    time.sleep(0.3)
    check_equal((len(second.sessions), engine.queued(), engine.records("b", "t")), (0, 1, []),
                "no other host, no bounce")


@test("auth: a host that cannot now is left for the next one")
def auth_later(world):
    first = world.mx(11, capabilities=ALL, auth="454 4.7.0 later")
    second = world.mx(12, capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    world.route("a.test", first, second)
    engine = world.engine(domain=KNOWN)
    world.send()
    engine.wait_records("d", 1)
    check_equal((first.transactions, users(second)), ([], [USER]), "hosts")


@test("auth: CRAM-MD5 in clear, LOGIN where it is the only one")
def mechanisms(world):
    clear = world.mx(11, ["a.test"], capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    login = world.mx(12, ["login.test"], tls=with_tls(world),
                     capabilities=(*CAPABILITIES, "AUTH=LOGIN"), auth=Authenticate(USER, PASSWORD))
    engine = world.engine(domain=KNOWN)
    world.send("u@a.test")
    world.send("u@login.test")
    engine.wait_records("d", 2)
    check_equal((said(clear), users(clear)), (["CRAM-MD5"], [USER]), "in clear")
    check_equal((said(login), users(login)), (["LOGIN"], [USER]), "over TLS")


# effect: domain use-unencrypted-plain-auth
@test("use-unencrypted-plain-auth: PLAIN in clear with it, no mail without it")
def in_clear(world):
    mx = world.mx(capabilities=CLEAR, auth=Authenticate(USER, PASSWORD))
    engine = world.engine(domain=KNOWN + "    use-unencrypted-plain-auth yes\n",
                          extra="<domain no.test>\n    use-unencrypted-plain-auth no\n</domain>")
    world.send("u@no.test")
    record = engine.wait_records("tq", 1)[0]
    check_equal(record["dsnStatus"][:5], "4.7.0", "status")
    check("would show the password" in record["dsnDiag"], record["dsnDiag"])
    check_equal((said(mx), mx.transactions), ([], []), "nothing was said")
    world.send("u@a.test")
    engine.wait_records("d", 1)
    check_equal((said(mx), mx.delivered), (["PLAIN"], ["u@a.test"]), "in clear")


@test("auth: without a user name nothing is said of it, and \"\" takes one back")
def no_user(world):
    mx = world.mx(capabilities=ALL)
    engine = world.engine(domain=KNOWN,
                          extra="<domain a.test>\n    auth-username \"\"\n</domain>")
    world.send("u@a.test")
    engine.wait_records("d", 1)
    check_equal(said(mx), [], "AUTH")


# effect: domain auth-password-file
@test("auth-password-file: read at the load, and again at a reload")
def password_file(world):
    secret = world.work / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    mx = world.mx(capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    engine = world.engine(domain=f"auth-username {USER}\n    auth-password-file {secret}\n")
    world.send()
    engine.wait_records("tq", 1)
    secret.write_text(PASSWORD + "\n")
    engine.control("reload")
    engine.wait_records("d", 1)
    check_equal(users(mx)[-1], USER, "user")
    secret.chmod(0o644)
    code, _, errors = engine.command("check")
    check(code == 78 and "auth-password-file: everybody may read or write" in errors, errors)


@test("auth: nothing of the password in the log, whatever is logged")
def not_in_log(world):
    tls = world.mx(11, ["plain.test"], tls=with_tls(world), capabilities=ALL,
                   auth=Authenticate(USER, PASSWORD))
    login = world.mx(12, ["login.test"], tls=tls.tls, capabilities=(*CAPABILITIES, "AUTH LOGIN"),
                     auth=Authenticate(USER, PASSWORD))
    cram = world.mx(13, ["cram.test"], capabilities=ALL, auth=Authenticate(USER, PASSWORD))
    engine = world.engine(domain=KNOWN + "    log-data yes\n    log-connections yes\n",
                          extra="<domain login.test>\n    log-data no\n    log-commands yes\n"
                                "</domain>")
    for name in ("plain", "login", "cram"):
        world.send(f"u@{name}.test")
    engine.wait_records("d", 3)
    check_equal([users(mx) for mx in (tls, login, cram)], [[USER]] * 3, "users")
    text = wait_for(lambda: engine.process.text().count("> QUIT") == 3 and engine.process.text(),
                    "the log has all")
    shown = [line for line in text.splitlines() if "AUTH (not shown)" in line]
    check_equal(len(shown), 1 + 3 + 2, "lines that stand for it")
    digest = [one.line for one in cram.sessions[0].commands]
    check(digest, "CRAM-MD5 was spoken")
    for word in (PASSWORD, USER, f"\0{USER}\0{PASSWORD}"):
        check(base64.b64encode(word.encode()).decode().rstrip("=") not in text, repr(word))
    check(PASSWORD not in text, "the password is in the log")
    check(base64.b64encode(USER.encode())[:12].decode() not in text, "the answer is in the log")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
