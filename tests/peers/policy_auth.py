#!/usr/bin/env python3
"""Who we are to receiving hosts: AUTH and certificates of our own, seen at the peer.

    tests/peers/policy_auth.py BUILD [NAME…]"""
import base64
import re
import ssl
import sys
import time

from harness import check, check_equal, main, make_certificate, openssl, test, wait_for
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


# ---- certificates ---------------------------------------------------------------------------


def pem(path, *parts):
    path.write_text("".join(part.read_text() for part in parts))
    path.chmod(0o600)
    return path


def asking(world, authority):
    """A server's TLS that asks for a certificate of this authority."""
    context = with_tls(world)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    return context


def own_certificate(world):
    """(authority, leaf, intermediate, key) of a client."""
    root = make_certificate(world.work, "root", subject="root.test", key="ed25519")
    middle = make_certificate(world.work, "middle", subject="middle.test", key="ed25519",
                              issuer=root)
    leaf, key = make_certificate(world.work, "ours", subject="ours.test", key="ed25519",
                                 issuer=middle)
    return root[0], leaf, middle[0], key


def nothing_in_clear(mx):
    """That no session said more than how it begins, before or inside of TLS."""
    verbs = {one.verb for session in mx.sessions for one in session.commands}
    check(mx.sessions and verbs <= {"EHLO", "STARTTLS"}, f"commands: {verbs}")


# effect: domain smtp-client-certificate
@test("behaviour 29 tls_client_certificate: shown with its chain to a host that asks")
def client_certificate(world):
    root, leaf, middle, key = own_certificate(world)
    mx = world.mx(tls=asking(world, root))
    hidden = world.work / "hidden.key"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:open sesame", "-out", hidden)
    engine = world.engine(
        domain=f"require-starttls yes\n    smtp-client-certificate "
               f"{pem(world.work / 'chain.pem', leaf, middle, key)}",
        extra=f"<domain hidden.test>\n    smtp-client-certificate "
              f'{pem(world.work / "hidden.pem", leaf, middle, hidden)} "open sesame"\n</domain>')
    world.send("u@a.test")
    world.send("u@hidden.test")
    engine.wait_records("d", 2)
    shown = [session.tls.getpeercert()["subject"] for session in mx.sessions]
    check_equal(shown, [((("commonName", "ours.test"),),)] * 2, "subjects")


@test("behaviour 29 tls_client_certificate: without the intermediate one mail waits")
def no_intermediate(world):
    root, leaf, _, key = own_certificate(world)
    mx = world.mx(tls=asking(world, root))
    engine = world.engine(domain="require-starttls yes\n    retry-after 1h\n"
                                 "    smtp-client-certificate "
                                 f"{pem(world.work / 'short.pem', leaf, key)}")
    world.send()
    engine.wait_records("tq", 1)
    nothing_in_clear(mx)
    check_equal((engine.queued(), engine.records("b")), (1, []), "it waits")


@test("behaviour 29 tls_client_certificate: a bad key is an error at the load, later mail waits")
def bad_key(world):
    root, leaf, middle, key = own_certificate(world)
    mx = world.mx(tls=asking(world, root))
    chain = pem(world.work / "chain.pem", leaf, middle, key)
    engine = world.engine(domain=f"smtp-client-certificate {chain}\n    retry-after 1h")
    other = make_certificate(world.work, "other", key="ed25519")[1]
    pem(chain, leaf, middle, other)
    world.send()
    record = engine.wait_records("tq", 1)[0]
    check_equal(record["dsnStatus"][:5], "4.7.5", "status")
    nothing_in_clear(mx)
    code, _, errors = engine.command("check")
    check(code == 78 and re.search(r"posthaste\.conf:\d+:\d+: error: smtp-client-certificate: ",
                                   errors), errors)
    refused = engine.ask("reload")
    check(refused["status"] != "success", refused)


# effect: domain smtp-tls-ca-file
@test("smtp-tls-ca-file: with require-starttls only an authority of it, for the host's name")
def authorities(world):
    authority = make_certificate(world.work, "root", subject="root.test", key="ed25519")
    pair = make_certificate(world.work, "right", subject="mx.a.test", key="ed25519",
                            issuer=authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    right = world.mx(11, tls=context)
    unknown = world.mx(12, tls=with_tls(world))
    hosts = {"a": right, "other-name": right, "unknown": unknown, "lax": unknown}
    zone = {f"{name}.test": [("MX", 10, f"mx.{name}.test")] for name in hosts}
    zone.update({f"mx.{name}.test": [("A", mx.address)] for name, mx in hosts.items()})
    names = world.names(zone)
    engine = world.engine(globals=names.directive, routes=" ",
                          domain="require-starttls yes\n    retry-after 1h\n"
                                 f"    smtp-tls-ca-file {authority[0]}",
                          extra="<domain lax.test>\n    require-starttls no\n</domain>")
    for name in hosts:
        world.send(f"u@{name}.test")
    waiting = {one["queue"].partition(".")[0]: one for one in engine.wait_records("tq", 2)}
    check_equal(sorted(waiting), ["other-name", "unknown"], "queues that wait")
    check_equal({one["dsnStatus"][:5] for one in waiting.values()}, {"4.7.5"}, "status")
    check("ostname mismatch" in waiting["other-name"]["dsnDiag"], waiting["other-name"]["dsnDiag"])
    engine.wait_records("d", 2)
    check_equal((right.delivered, unknown.delivered), (["u@a.test"], ["u@lax.test"]), "delivered")
    check(all(one.session.tls is not None for one in right.messages + unknown.messages), "TLS")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
