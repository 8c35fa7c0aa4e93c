#!/bin/bash
# Smoke test of the bench programs: our sender, our sink and Postfix's, each with each.
#
#     tests/peers/bench_smoke.sh [DIRECTORY OF THE BENCH PROGRAMS]
#
# Seconds only. Prints a line per check and "N passed, N failed"; exit 0 only if none failed.
# Without Postfix the checks that need it are left out, saying so.
set -u
bench=${1:-build/bench}
work=$(mktemp -d)
passed=0 failed=0
sink_pid= peer_pid=

cleanup() {
    [ -z "$sink_pid" ] || kill "$sink_pid" 2>/dev/null
    [ -z "$peer_pid" ] || kill "$peer_pid" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

check() { # NAME COMMAND…
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $name"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        sed 's/^/    /' "$work/out"
    fi
}

# Starts the sink on a free port; sets $port and $sink_pid.
start_sink() {
    : >"$work/sink.out"
    "$bench/sink" --listen "${listen:-127.0.0.1:0}" "$@" >"$work/sink.out" 2>"$work/sink.err" &
    sink_pid=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/sink.out")
        [ -z "$port" ] || return 0
        sleep 0.05
    done
    echo "the sink does not start:"
    cat "$work/sink.err"
    exit 1
}

# Ends the sink; its line of totals must have all of the words given.
sink_totals() {
    kill -TERM "$sink_pid"
    wait "$sink_pid" || return 1
    sink_pid=
    cat "$work/sink.out" "$work/sink.err"
    local word
    for word in "$@"; do
        grep -q " $word\( \|$\)" "$work/sink.out" || return 1
    done
}

# Every X-Seq below N is in the record, once.
recorded_once() {
    seq 0 $(($1 - 1)) >"$work/wanted"
    cut -f 8 "$work/record" | sort -n | cmp - "$work/wanted"
}

start_sink
check "yardstick sends to the sink" "$bench/yardstick" --target "127.0.0.1:$port" \
    --connections 16 --messages 5000
check "the sink counted what the yardstick sent" sink_totals messages=5000 bytes=20480000

start_sink --record "$work/record"
check "load injects into the sink" "$bench/load" --target "127.0.0.1:$port" --messages 2000 \
    --rcpts 3 --domains 7 --vmtas a,b
check "load injects in lock-step" "$bench/load" --target "127.0.0.1:$port" --messages 500 \
    --first 2000 --pipelined no
check "the sink counted what load sent" sink_totals messages=2500 recipients=6500
check "each message is recorded once" recorded_once 2500

start_sink --caps PIPELINING,STARTTLS --record "$work/record"
check "load injects over TLS" "$bench/load" --target "127.0.0.1:$port" --messages 300 \
    --connections 4 --tls yes --size 50k
check "the sink saw TLS" sink_totals messages=300 handshakes=4
check "each TLS message is recorded once" recorded_once 300
check "all were encrypted" test "$(cut -f 10 "$work/record" | sort -u)" = tls

start_sink --latency 50
SECONDS=0
check "load injects into a sink far away" "$bench/load" --target "127.0.0.1:$port" \
    --messages 320 --connections 32
check "a message took its three round trips" test "$SECONDS" -ge 1
check "the far sink counted" sink_totals messages=320

start_sink --deny 20
check "a refused recipient is no success" bash -c \
    "! '$bench/load' --target 127.0.0.1:$port --messages 100"
check "the sink refused some" sink_totals deferred=0
start_sink --defer 20
check "a deferred recipient is tried again" bash -c \
    "'$bench/load' --target 127.0.0.1:$port --messages 100 --retries 2 --retry-after 10 |
        grep -q 'replied_451=[1-9].* unexpected=0'"
check "the sink deferred some" sink_totals denied=0

start_sink --caps PIPELINING,CHUNKING,SIZE=100k --record "$work/record"
check "dots, chunks and odd splits give the same message" python3 - "$port" "$work/record" <<'PY'
import hashlib, socket, sys, time

body = b"".join(b"." * (i % 5) + b"line %d\r\n" % i for i in range(500)) + b"..\r\n.\n.\r\r\n"
head = b"Subject: split\r\nx-seq:  seven \r\n\r\n"
message = head + body
lines = message.split(b"\r\n")
stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)

begin_us = time.time_ns() // 1000

def talk(pieces, replies):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            s.sendall(piece)
        seen = b""
        while got := s.recv(4096):
            seen += got
    codes = [l[:3] for l in seen.decode().splitlines() if l[3:4] == " "]
    assert codes == replies, seen

def cut(data, n):
    return [data[i:i + n] for i in range(0, len(data), n)]

envelope = b"EHLO split.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"
data = envelope + b"DATA\r\n" + stuffed + b".\r\nQUIT\r\n"
talk([data], "220 250 250 250 354 250 221".split())
talk(cut(data, 1), "220 250 250 250 354 250 221".split())
talk(cut(data, 7), "220 250 250 250 354 250 221".split())
chunks = envelope + b"BDAT 100\r\n" + message[:100] + b"BDAT 0\r\n" + \
    b"BDAT %d LAST\r\n" % (len(message) - 100) + message[100:] + b"QUIT\r\n"
talk(cut(chunks, 13), "220 250 250 250 250 250 250 221".split())
talk([envelope.replace(b"<>", b"<> SIZE=200000") + b"BDAT 3 LAST\r\nx\r\nQUIT\r\n"],
     "220 250 552 503 503 221".split())
talk([b"EHLO a\r\nMAIL FROM:<> SMTPUTF8\r\nDATA\r\nQUIT\r\n"], "220 250 555 503 221".split())
time.sleep(0.05)
lines = [line.rstrip("\n").split("\t") for line in open(sys.argv[2])]
digest = hashlib.sha256(body).hexdigest()[:16]
assert len(lines) == 4, lines
for line in lines:
    assert line[2:10] == ["split.test", "-", "a@b.test", str(len(message)), digest, "seven",
                          "127.0.0.1", "-"], line
    assert begin_us <= int(line[10]) <= int(line[0]) and len(line) == 11, line
PY
check "the sink took all four" sink_totals messages=4

listen=loopback:0 start_sink
check "all of 127.0.0.0/8 is listened on" "$bench/load" --target "127.9.8.7:$port" --messages 10
check "idle connections stay open" "$bench/connections" --target "127.0.0.1:$port" --count 500 \
    --sources 10 --seconds 1
check "the sink saw them" sink_totals connections=564

start_sink --messages 400
"$bench/load" --target "127.0.0.1:$port" --messages 1000 --connections 8 --reconnect yes \
    --record "$work/accepted" >"$work/load.out" &
load_pid=$!
wait "$sink_pid"
listen=127.0.0.1:$port start_sink
check "load goes on when its server is back" wait "$load_pid"
check "load recorded each message" test "$(cut -f 2 "$work/accepted" | sort -u | wc -l)" = 1000
check "the second sink took the rest" sink_totals denied=0

if [ -x /usr/sbin/smtp-source ] && [ -x /usr/sbin/smtp-sink ]; then
    start_sink
    check "smtp-source sends to the sink" smtp-source -s 10 -m 1000 -l 4096 -t a@b.test \
        "127.0.0.1:$port"
    check "the sink counted what smtp-source sent" sink_totals messages=1000
    peer=$((20000 + RANDOM % 10000))
    smtp-sink $([ "$(id -u)" != 0 ] || echo -u nobody) "127.0.0.1:$peer" 100 &
    peer_pid=$!
    sleep 0.5
    check "load injects into smtp-sink" "$bench/load" --target "127.0.0.1:$peer" \
        --messages 1000 --connections 10 --rcpts 2
    check "the yardstick sends to smtp-sink" "$bench/yardstick" --target "127.0.0.1:$peer" \
        --messages 1000 --connections 10
else
    echo "left out: no Postfix tools here"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
