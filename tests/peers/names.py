"""A small name server for tests: answers over UDP and TCP what a test put into its zone.

Names are text without a final dot. A record is a tuple:

    ("A", "127.0.0.1"[, ttl])   ("AAAA", "::1"[, ttl])   ("MX", preference, host[, ttl])
    ("CNAME", host[, ttl])   ("PTR", name[, ttl])   ("TXT", text[, ttl]): strings of 100 bytes

and a name may instead have one behaviour for all its questions:

    "nxdomain"  "servfail"  "refused"  "silence"  "truncated" (whole only over TCP)
    "wrong-id"  "loop" (a compression pointer to itself)  "garbage"  "cut" (half an answer)
    or a function (question bytes, over TCP?) -> answer bytes or None
"""
import asyncio
import ipaddress
import socket
import struct

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
DEFAULT_TTL = 60


def encode_name(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            data = label.encode("utf-8")
            out += bytes([len(data)]) + data
    return out + b"\0"


def decode_name(data, at):
    labels = []
    while data[at]:
        length = data[at]
        labels.append(data[at + 1:at + 1 + length].decode("latin-1"))
        at += 1 + length
    return ".".join(labels), at + 1


def encode_record(owner, record):
    kind = record[0]
    if kind == "A":
        value, rest = ipaddress.IPv4Address(record[1]).packed, record[2:]
    elif kind == "AAAA":
        value, rest = ipaddress.IPv6Address(record[1]).packed, record[2:]
    elif kind == "MX":
        value, rest = struct.pack("!H", record[1]) + encode_name(record[2]), record[3:]
    elif kind == "TXT":
        data, rest = record[1].encode("utf-8"), record[2:]
        parts = [data[at:at + 100] for at in range(0, max(1, len(data)), 100)]
        value = b"".join(bytes([len(part)]) + part for part in parts)
    else:
        value, rest = encode_name(record[1]), record[2:]
    ttl = rest[0] if rest else DEFAULT_TTL
    return encode_name(owner) + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(value)) + value


class Question:
    def __init__(self, data):
        self.data = data
        self.id = struct.unpack("!H", data[:2])[0]
        self.name, end = decode_name(data, 12)
        self.type = struct.unpack("!H", data[end:end + 2])[0]
        self.section = data[12:end + 4]

    @property
    def type_name(self):
        return next((name for name, number in TYPES.items() if number == self.type),
                    str(self.type))

    def answer(self, records=(), rcode=0, truncated=False, ident=None):
        flags = 0x8180 | rcode | (0x0200 if truncated else 0)
        ident = self.id if ident is None else ident
        head = struct.pack("!HHHHHH", ident, flags, 1, len(records), 0, 0)
        return head + self.section + b"".join(records)


class NameServer:
    """Listens at once. `asked`: (name, type, over TCP?) of every question."""

    def __init__(self, loop, address, port, zone):
        self.loop, self.address, self.port = loop, address, port
        self.zone = {name.lower(): value for name, value in zone.items()}
        self.asked = []
        self.udp = self.tcp = None
        # Made by the caller: in the network namespace that its thread is in.
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, port))
        listener = socket.create_server((address, port), family=family)
        loop.call(self.listen(datagrams, listener))

    async def listen(self, datagrams, listener):
        running = asyncio.get_running_loop()
        server = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, peer):
                answer = server.reply(data, False)
                if answer is not None:
                    self.transport.sendto(answer, peer)

        self.udp, _ = await running.create_datagram_endpoint(
            Datagrams, sock=datagrams)
        self.tcp = await asyncio.start_server(self.on_connection, sock=listener)

    async def on_connection(self, reader, writer):
        try:
            while True:
                length = struct.unpack("!H", await reader.readexactly(2))[0]
                answer = self.reply(await reader.readexactly(length), True)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def reply(self, data, over_tcp):
        question = Question(data)
        name = question.name.lower()
        self.asked.append((name, question.type_name, over_tcp))
        entry = self.zone.get(name, "nxdomain")
        if callable(entry):
            return entry(question, over_tcp)
        if isinstance(entry, str):
            return self.misbehave(entry, question, over_tcp)
        return question.answer(self.records(name, entry, question))

    def records(self, name, entry, question):
        """Follows aliases, as a resolver does."""
        out, hops = [], 0
        while hops < 10:
            alias = [one for one in entry if one[0] == "CNAME"]
            wanted = [one for one in entry if one[0] == question.type_name]
            out += [encode_record(name, one) for one in wanted]
            if wanted or not alias:
                break
            out += [encode_record(name, alias[0])]
            name = alias[0][1].lower()
            entry = self.zone.get(name, [])
            entry = [] if isinstance(entry, str) or callable(entry) else entry
            hops += 1
        return out

    def misbehave(self, how, question, over_tcp):
        if how == "nxdomain":
            return question.answer(rcode=3)
        if how == "servfail":
            return question.answer(rcode=2)
        if how == "refused":
            return question.answer(rcode=5)
        if how == "silence":
            return None
        if how == "garbage":
            return b"\xff" * 40
        if how == "wrong-id":
            record = encode_record(question.name, ("A", "127.0.0.1"))
            return question.answer([record], ident=question.id ^ 0x5555)
        if how == "loop":
            # The owner's name is a pointer to itself.
            at = 12 + len(question.section)
            return question.answer([struct.pack("!HHHIH", 0xC000 | at, question.type, 1, 60, 4) +
                                    b"\x7f\0\0\1"])
        if how == "cut":
            record = encode_record(question.name, ("MX", 10, "a-long-name.example.test"))
            return question.answer([record])[:-9]
        raise AssertionError(how)

    def truncated(self, records):
        """An entry whose answer is whole only over TCP."""
        def entry(question, over_tcp):
            if not over_tcp:
                return question.answer(truncated=True)
            return question.answer(self.records(question.name.lower(), records, question))
        return entry

    async def _close(self):
        self.udp.close()
        self.tcp.close()

    def close(self):
        if self.udp is not None:
            self.loop.call(self._close())
            self.udp = None
