"""A receiving host that behaves as a test says.

An `Mx` listens on one address and plays a *script*: for each stage of a session what it does.
A script's entry is

    "250 ok"           lines (split at "\\n"), sent with CRLF
    b"250 ok\\n"        bytes, sent as they are
    None               nothing is said
    Close(), Reset(), Delay(s), Silence(), Await(b"MAIL"), ReadBytes(n), StartTls()
    [entry, …]         one after the other
    Turns(a, b, c)     the first time a, then b, then c from there on (counted over all sessions)
    function           called with (session, argument); what it returns is played

Everything that comes in is kept: sessions with their commands, times, source address and EHLO
name; transactions with their replies; messages as bytes, dots unstuffed. All peers share one
asyncio loop in a thread of its own; tests look at the records from theirs.
"""
import asyncio
import base64
import hmac
import inspect
import socket
import ssl
import struct
import threading
import time

CAPABILITIES = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
READ_BYTES = 65536
STAGES = ("connect", "greeting", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data",
          "data_unwanted", "body", "final", "lone_dot", "bdat", "rset", "noop", "quit", "unknown")


class Loop:
    """The event loop that all peers of this process run in."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="peers", daemon=True)
        self.thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine, seconds=20):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)


class Ended(Exception):
    """The connection is gone, or the script closed it."""


class Close:
    async def run(self, session):
        await session.close()
        raise Ended


class Reset:
    """Closes with RST."""

    async def run(self, session):
        linger = struct.pack("ii", 1, 0)
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        session.writer.transport.abort()
        raise Ended


class Delay:
    def __init__(self, seconds):
        self.seconds = seconds

    async def run(self, session):
        await asyncio.sleep(self.seconds)


class Silence:
    """Neither reads nor says anything any more."""

    async def run(self, session):
        await session.gone.wait()
        raise Ended


class Await:
    """Reads on until the bytes have come (they stay to be read), so long at most."""

    def __init__(self, pattern, seconds=10):
        self.pattern, self.seconds = pattern, seconds

    async def run(self, session):
        end = time.monotonic() + self.seconds
        while self.pattern not in session.buffer and time.monotonic() < end:
            try:
                await asyncio.wait_for(session.fill(), max(0.01, end - time.monotonic()))
            except asyncio.TimeoutError:
                return


class ReadBytes:
    """Reads on until so many bytes wait."""

    def __init__(self, count):
        self.count = count

    async def run(self, session):
        while len(session.buffer) < self.count:
            await session.fill()


class StartTls:
    def __init__(self, context=None):
        self.context = context

    async def run(self, session):
        await session.start_tls(self.context or session.mx.tls)


class Garbage:
    """So many bytes made by repeating a piece, at most as fast as they are read."""

    def __init__(self, piece, count):
        self.piece, self.count = piece, count

    async def run(self, session):
        block = self.piece * max(1, 65536 // len(self.piece))
        sent = 0
        while sent < self.count:
            await session.send(block)
            sent += len(block)


class Authenticate:
    """AUTH by PLAIN, LOGIN or CRAM-MD5; who got in stands in session.user."""

    CHALLENGE = b"<1896.697170952@mx.example.test>"

    def __init__(self, user, password, refusal="535 5.7.8 wrong"):
        self.user, self.password, self.refusal = user.encode(), password.encode(), refusal

    async def ask(self, session, challenge):
        await session.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(await session.line(), validate=True)

    async def __call__(self, session, argument):
        mechanism, _, initial = argument.partition(b" ")
        if mechanism == b"PLAIN":
            said = base64.b64decode(initial) if initial else await self.ask(session, b"")
            right = said == b"\0" + self.user + b"\0" + self.password
        elif mechanism == b"LOGIN":
            right = (await self.ask(session, b"Username:") == self.user) & \
                    (await self.ask(session, b"Password:") == self.password)
        else:
            digest = hmac.new(self.password, self.CHALLENGE, "md5").hexdigest().encode()
            right = await self.ask(session, self.CHALLENGE) == self.user + b" " + digest
        session.user = self.user.decode() if right else None
        return "235 2.7.0 in" if right else self.refusal


class Turns:
    def __init__(self, *entries):
        self.entries, self.count = entries, 0

    def next(self):
        entry = self.entries[min(self.count, len(self.entries) - 1)]
        self.count += 1
        return entry


class Command:
    def __init__(self, line):
        self.line, self.time = line, time.monotonic()
        self.verb = line.split(b" ")[0].upper().decode("latin-1")

    def __repr__(self):
        return repr(self.line)


class Transaction:
    """What began with a MAIL. `code` is of the reply to the message, 0 if there was none."""

    def __init__(self, session, mail):
        self.session, self.mail, self.time = session, mail, time.monotonic()
        self.mail_code = self.data_code = self.code = 0
        self.rcpts = []  # (argument, code)
        self.data = self.raw = None  # raw: as it came by DATA, with its end
        self.chunks = []

    @property
    def accepted_rcpts(self):
        return [path_of(argument) for argument, code in self.rcpts if code // 100 == 2]

    @property
    def sender(self):
        return path_of(self.mail)

    def __repr__(self):
        return (f"<{self.mail!r} {self.mail_code} {self.rcpts} data {self.data_code} "
                f"final {self.code} session {self.session.number}>")


def path_of(argument):
    """What stands between the angle brackets."""
    text = argument.decode("utf-8", "replace")
    return text[text.index("<") + 1:text.rindex(">")]


class Session:
    def __init__(self, mx, reader, writer):
        self.mx, self.reader, self.writer = mx, reader, writer
        self.socket = writer.get_extra_info("socket")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source, self.source_port = writer.get_extra_info("peername")[:2]
        self.begun, self.ended = time.monotonic(), None
        self.number = len(mx.sessions)
        self.commands, self.transactions, self.said, self.reads = [], [], [], []
        self.hello, self.tls, self.last_code = None, None, 0
        self.user = None
        self.transaction = None
        self.on_code = None  # told of each code that is said, before what follows it
        self.buffer = self.raw = b""
        self.gone = asyncio.Event()
        self.closed_by_peer = False

    # ---- bytes ----

    async def fill(self):
        data = await self.reader.read(READ_BYTES)
        if not data:
            self.closed_by_peer = True
            raise Ended
        self.reads.append((time.monotonic(), data[:256]))
        self.buffer += data

    async def line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > 1 << 20:
                raise Ended
            await self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    async def octets(self, count):
        while len(self.buffer) < count:
            await self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    async def body(self):
        """What stands before the final dot, dots unstuffed. Only CRLF . CRLF is an end."""
        if self.buffer.startswith(b".\r\n"):
            self.buffer = self.buffer[3:]
            return b""
        searched = 0
        while True:
            at = self.buffer.find(b"\r\n.\r\n", max(0, searched - 5))
            if at >= 0:
                break
            searched = len(self.buffer)
            await self.fill()
            if len(self.buffer) < 3 and searched == 0:
                continue
            if searched == 0 and self.buffer.startswith(b".\r\n"):
                self.buffer = self.buffer[3:]
                return b""
        self.raw = self.buffer[:at + 5]
        body, self.buffer = self.buffer[:at + 2], self.buffer[at + 5:]
        lines = body.split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)

    async def send(self, data):
        code = data.rstrip(b"\r\n").rpartition(b"\n")[2][:3]
        if code.isdigit():
            self.last_code = int(code)
            if self.on_code is not None:
                self.on_code(self.last_code)
        self.said.append((time.monotonic(), data[:256]))
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (ConnectionError, OSError):
            raise Ended from None

    async def close(self):
        self.writer.close()

    async def start_tls(self, context):
        try:
            await self.writer.start_tls(context)
        except (ConnectionError, OSError, ssl.SSLError) as error:
            self.tls = error
            raise Ended from None
        self.tls = self.writer.get_extra_info("ssl_object")
        self.buffer, self.hello, self.transaction = b"", None, None

    # ---- the script ----

    async def play(self, entry, argument=b""):
        if entry is None:
            return
        if isinstance(entry, Turns):
            await self.play(entry.next(), argument)
        elif isinstance(entry, str):
            text = entry.replace("\n", "\r\n") + "\r\n"
            await self.send(text.encode("utf-8", "surrogateescape"))
        elif isinstance(entry, bytes):
            await self.send(entry)
        elif isinstance(entry, (list, tuple)):
            for one in entry:
                await self.play(one, argument)
        elif hasattr(entry, "run"):
            await entry.run(self)
        else:
            result = entry(self, argument)
            if inspect.isawaitable(result):
                result = await result
            await self.play(result, argument)

    async def stage(self, name, argument=b"", note=None):
        """Plays a stage; the code it said last. note: gets its first code as soon as it is said,
        for the script may close behind it."""
        def first(code):
            self.on_code = None
            note(code)

        self.last_code = 0
        self.on_code = first if note is not None else None
        try:
            await self.play(self.mx.script[name], argument)
        finally:
            self.on_code = None
        return self.last_code

    async def serve(self):
        await self.stage("connect")
        await self.stage("greeting")
        while True:
            command = Command(await self.line())
            self.commands.append(command)
            argument = command.line.partition(b" ")[2]
            handler = getattr(self, "on_" + command.verb.lower(), None)
            if handler is None:
                await self.stage("unknown", command.line)
            else:
                await handler(argument)

    async def on_ehlo(self, argument):
        self.hello = argument.decode("latin-1")
        self.transaction = None
        await self.stage("ehlo", argument)

    async def on_helo(self, argument):
        self.hello = argument.decode("latin-1")
        await self.stage("helo", argument)

    async def on_starttls(self, argument):
        await self.stage("starttls", argument)

    async def on_auth(self, argument):
        await self.stage("auth", argument)

    async def on_mail(self, argument):
        self.transaction = Transaction(self, argument)
        self.transactions.append(self.transaction)
        self.mx.transactions.append(self.transaction)
        transaction = self.transaction
        await self.stage("mail", argument, lambda code: setattr(transaction, "mail_code", code))
        if self.transaction.mail_code // 100 != 2:
            self.transaction = None

    async def on_rcpt(self, argument):
        if self.transaction is None:
            await self.play("503 5.5.1 MAIL first")
            return
        transaction = self.transaction
        place = len(transaction.rcpts)
        transaction.rcpts.append((argument, 0))

        def note(code):
            transaction.rcpts[place] = (argument, code)

        await self.stage("rcpt", argument, note)

    async def on_data(self, argument):
        transaction = self.transaction
        if transaction is None:
            await self.play("503 5.5.1 MAIL first")
            return

        def note(code):
            transaction.data_code = code

        if not transaction.accepted_rcpts:
            await self.stage("data_unwanted", argument, note)
        else:
            await self.stage("data", argument, note)
        if transaction.data_code == 354:
            await self.read_message(transaction)
        self.transaction = None

    async def read_message(self, transaction):
        await self.stage("body")
        self.raw = b".\r\n"
        transaction.data = await self.body()
        transaction.raw = self.raw
        stage = "final" if transaction.accepted_rcpts else "lone_dot"
        await self.stage(stage, transaction.data, lambda code: setattr(transaction, "code", code))

    async def on_bdat(self, argument):
        words = argument.split()
        octets = await self.octets(int(words[0]))
        transaction = self.transaction
        if transaction is None or not transaction.accepted_rcpts:
            await self.play("503 5.5.1 RCPT first")
            return
        transaction.chunks.append(octets)
        last = len(words) > 1
        code = await self.stage("bdat", argument)
        if code != 0:
            transaction.code = code
            self.transaction = None
        elif last:
            transaction.data = b"".join(transaction.chunks)
            await self.stage("final", transaction.data,
                             lambda code: setattr(transaction, "code", code))
            self.transaction = None
        else:
            await self.play("250 2.0.0 octets received")

    async def on_rset(self, argument):
        self.transaction = None
        await self.stage("rset")

    async def on_noop(self, argument):
        await self.stage("noop")

    async def on_quit(self, argument):
        await self.stage("quit")


class Mx:
    """Listens on address:port at once; `close` ends all its sessions."""

    def __init__(self, loop, address, port, tls=None, capabilities=CAPABILITIES, name=None,
                 receive_bytes=None, **script):
        unknown = set(script) - set(STAGES)
        assert not unknown, f"no such stage: {unknown}"
        self.loop, self.address, self.port, self.tls = loop, address, port, tls
        self.name = name or f"mx-{address}.test"
        self.capabilities = list(capabilities) + (["STARTTLS"] if tls else [])
        self.receive_bytes = receive_bytes
        self.sessions, self.transactions = [], []
        self.script = {
            "connect": None,
            "greeting": f"220 {self.name} ESMTP",
            "ehlo": self.ehlo,
            "helo": f"250 {self.name}",
            "starttls": ["220 2.0.0 go ahead", StartTls()] if tls else "502 5.5.1 not here",
            "auth": "502 5.5.1 not here",
            "mail": "250 2.1.0 ok",
            "rcpt": "250 2.1.5 ok",
            "data": "354 go ahead",
            "data_unwanted": "554 5.5.1 no valid recipients",
            "body": None,
            "final": "250 2.0.0 taken",
            "lone_dot": "250 2.0.0 nothing taken",
            "bdat": None,
            "rset": "250 2.0.0 ok",
            "noop": "250 2.0.0 ok",
            "quit": ["221 2.0.0 bye", Close()],
            "unknown": "500 5.5.2 what?",
        }
        self.script.update(script)
        self.server = None
        # Made by the caller: in the network namespace that its thread is in.
        listener = self.open_socket()
        loop.call(self.listen(listener))

    def ehlo(self, session, argument):
        names = [name for name in self.capabilities
                 if not (name == "STARTTLS" and session.tls is not None)]
        lines = [self.name] + names
        return "\n".join("250" + ("-" if i + 1 < len(lines) else " ") + line
                         for i, line in enumerate(lines))

    def open_socket(self):
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.receive_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
        listener.bind((self.address, self.port))
        return listener

    async def listen(self, listener):
        self.server = await asyncio.start_server(self.on_connection, sock=listener, backlog=1024)

    async def on_connection(self, reader, writer):
        session = Session(self, reader, writer)
        self.sessions.append(session)
        try:
            await session.serve()
        except (Ended, ConnectionError, OSError, asyncio.CancelledError):
            pass
        finally:
            session.ended = time.monotonic()
            session.gone.set()
            writer.close()

    async def _close(self):
        self.server.close()
        for session in self.sessions:
            session.gone.set()
            if session.ended is None:
                session.writer.transport.abort()

    def close(self):
        if self.server is not None:
            self.loop.call(self._close())
            self.server = None

    # ---- what came in ----

    @property
    def messages(self):
        """Transactions whose message was accepted."""
        return [one for one in list(self.transactions) if one.code // 100 == 2 and
                one.data is not None and one.accepted_rcpts]

    @property
    def delivered(self):
        """Addresses of accepted messages, each as often as it was delivered."""
        return sorted(address for one in self.messages for address in one.accepted_rcpts)

    def transcript(self):
        lines = []
        for session in list(self.sessions)[:8]:
            lines.append(f"  {self.address}: session {session.number} from {session.source} "
                         f"({session.hello}) tls={session.tls is not None}")
            said = [(when, "S: " + data[:120].decode("latin-1").rstrip().replace("\r\n", " | "))
                    for when, data in session.said]
            heard = [(one.time, "C: " + one.line[:120].decode("latin-1"))
                     for one in session.commands]
            begin = session.begun
            for when, text in sorted(said[:20] + heard[:40]):
                lines.append(f"    {when - begin:7.3f} {text}")
            if session.ended:
                lines.append(f"    {session.ended - begin:7.3f} ended"
                             f"{' (by the client)' if session.closed_by_peer else ''}")
        lines.append(f"  {self.address}: {len(self.sessions)} sessions, {len(self.messages)} messages")
        return "\n".join(lines[-150:])
