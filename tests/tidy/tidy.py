"""Holds the tree to the house rules that a program can check.

Layers and purity, third-party headers, banned calls, sizes, header contracts, formatting, and
rows.py: each row of the hostile cases has a test named after it. Prints one line per finding and a
closing count: each rule is a test. With --rows: the rows and their tests, nothing else; with
--effects: the directives and the tests of their effects (effects.py), nothing else.
"""
import os
import re
import subprocess
import sys

import effects
import rows

LINES_MAX = 800        # of a file
COLUMNS_MAX = 100
FUNCTION_MAX = 70      # lines of a function, braces included

# A folder may include what is named here, and itself.
LAYERS = {
    "engine/base": [],
    "engine/smtp": ["base"],
    "policy": ["base", "smtp"],
    "vmta": ["base", "smtp", "policy"],
    "engine/io": ["base"],
    "engine/disk": ["base", "io"],
    "engine/net": ["base", "io"],
    "engine/redis": ["base", "io", "net"],
}
PURE = ["engine/base", "engine/smtp", "policy", "vmta"]

# What stands on the path, in its order: arrows go down only.
PATH = ["main", "commands", "control", "probe", "outside", "doctor", "engine", "worker",
        "listener", "session", "reception", "pickup", "intake", "job", "arrivals", "schedule",
        "attempt", "prepare", "outcome", "gates", "site", "queue", "resolve", "outbound",
        "local_delivery", "accounting", "feed", "spool", "message", "journal"]
# Folders that have modules of their own behind "name/".
FOLDERS = ["base", "smtp", "policy", "vmta", "io", "disk", "net", "redis"]

ONE_FILE = {  # third-party header: where it may be included
    "liburing.h": ["engine/io/io_uring.c", "engine/io/"],
    "hiredis": ["engine/redis/redis.c"],
    "pcre2.h": ["policy/pattern.c"],
    "jemalloc/": ["engine/base/arena.c"],
    "jansson.h": ["engine/base/json.c"],
    "openssl/": ["engine/base/crypto", "engine/net/tls", "engine/smtp/dkim.c"],
    "ares.h": ["engine/net/dns"],
    "idn2.h": ["engine/base/idna.c"],
    "systemd/": ["engine/commands_run.c"],
}
KERNEL = ["sys/socket.h", "netinet/", "fcntl.h", "sys/stat.h", "sys/mman.h", "poll.h", "time.h",
          "sys/time.h", "netdb.h", "dirent.h"]
# io.h itself names kernel types; these few say why in their first lines.
KERNEL_ALLOWED = ["engine/io/", "engine/base/logger.c", "engine/net/dns.c", "engine/commands_run.c",
                  "engine/control_client.c"]
BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi", "atol", "strtok", "alloca",
          "rand", "srand", "random", "sleep", "usleep", "nanosleep", "getaddrinfo", "gethostbyname",
          "system", "popen", "time", "gettimeofday", "clock_gettime", "localtime", "setjmp"]
BANNED_ALLOWED = {"clock_gettime": ["engine/io/"], "time": []}


def product_files():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "engine", "policy", "vmta",
                          "bench", "tests"], capture_output=True, text=True, check=True).stdout
    return [name for name in out.split("\n")
            if name.endswith((".c", ".h", ".def")) and os.path.exists(name)]


def python_tests():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "tests/*.py"],
                         capture_output=True, text=True, check=True).stdout
    return [name for name in out.split("\n") if os.path.exists(name)
            and not name.startswith("tests/tidy/")]


def layer_of(name):
    folder = os.path.dirname(name)
    return folder if folder in LAYERS else None


def is_engine(name):
    return name.startswith(("engine/", "policy/", "vmta/"))


def includes(text):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', text, re.M)


def check_layers(name, text):
    layer = layer_of(name)
    if layer is None:
        return
    own = layer.replace("engine/", "")
    for quote, header in includes(text):
        if quote != '"':
            continue
        target = header.split("/")[0] if "/" in header else None
        if target is None:
            yield f"{name}: includes {header}: a layer below the path may not know it"
        elif target in FOLDERS and target != own and target not in LAYERS[layer]:
            yield f"{name}: {own} may not include {header}"


def path_place(module):
    best = None
    for place, word in enumerate(PATH):
        if module == word or module.startswith(word + "_"):
            if best is None or len(word) > len(PATH[best]):
                best = place
    return best


def check_path(name, text):
    """Headers of the path are known only further up (a .c may know its own and lower ones)."""
    if os.path.dirname(name) != "engine" or not name.endswith(".h"):
        return
    here = path_place(os.path.basename(name)[:-2])
    for quote, header in includes(text):
        if quote == '"' and "/" not in header:
            there = path_place(header[:-2])
            if here is not None and there is not None and there < here:
                yield f"{name}: includes {header}, which stands above it on the path"


def check_third_party(name, text):
    if not is_engine(name):
        return
    for _, header in includes(text):
        for library, places in ONE_FILE.items():
            if header.startswith(library) and not name.startswith(tuple(places)):
                yield f"{name}: {header} belongs in {places[0]} only"


def check_purity(name, text):
    if not is_engine(name) or name.startswith(tuple(KERNEL_ALLOWED)):
        return
    for quote, header in includes(text):
        if quote == "<" and header.startswith(tuple(KERNEL)):
            yield f"{name}: <{header}>: only io touches the kernel and the clock"


def strip(text):
    """Without comments and strings, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def check_banned(name, code):
    if not is_engine(name):
        return
    for number, line in enumerate(code.split("\n"), 1):
        for word in BANNED:
            if name.startswith(tuple(BANNED_ALLOWED.get(word, ())) or ("\0",)):
                continue
            if re.search(r"(?<![\w.>])" + word + r"\s*\(", line):
                yield f"{name}:{number}: {word} is banned here"
        if re.search(r"^\s*typedef\b", line) and name.endswith(".h"):
            yield f"{name}:{number}: no typedef"


def check_sizes(name, text, code):
    lines = text.split("\n")
    if len(lines) - 1 > LINES_MAX:
        yield f"{name}: {len(lines) - 1} lines, {LINES_MAX} is the limit"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{name}:{number}: {len(line)} columns, {COLUMNS_MAX} is the limit"
    if not name.endswith(".c"):
        return
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start + 1 > FUNCTION_MAX:
                yield f"{name}:{start}: function of {number - start + 1} lines, {FUNCTION_MAX} is the limit"
            start = None


def check_header(name, text):
    if not name.endswith(".h") or not is_engine(name):
        return
    if not text.startswith("/* "):
        yield f"{name}: a header begins by saying what it is"
    if "#ifndef" not in text and "#pragma once" not in text:
        yield f"{name}: no include guard"


def check_compiles_alone(names):
    for name in names:
        if name.endswith(".h") and is_engine(name):
            run = subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c",
                                  "-I.", "-Iengine", name], capture_output=True, text=True)
            if run.returncode != 0:
                yield f"{name} does not compile alone: {run.stderr.splitlines()[0]}"


def check_conflicts():
    run = subprocess.run(["git", "grep", "-nE", "^(<<<<<<<|>>>>>>>) "], capture_output=True, text=True)
    for line in run.stdout.splitlines():
        yield f"{line}: what a merge left"


def check_format(names):
    sources = [name for name in names if name.endswith((".c", ".h"))]
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *sources],
                         capture_output=True, text=True)
    seen = set()
    for line in run.stderr.splitlines():
        match = re.match(r"^(\S+?):\d+:\d+: error", line)
        if match and match.group(1) not in seen:
            seen.add(match.group(1))
            yield f"{match.group(1)}: not formatted (clang-format -i)"


def main():
    names = product_files()
    if sys.argv[1:] == ["--rows"]:
        rows.show(names)
        return 0
    if sys.argv[1:] == ["--effects"]:
        effects.show(names, python_tests())
        return 0
    texts = {name: open(name, encoding="utf-8").read() for name in names}
    codes = {name: strip(text) for name, text in texts.items()}
    rules = {
        "layers": (f for n in names for f in check_layers(n, texts[n])),
        "path": (f for n in names for f in check_path(n, texts[n])),
        "third-party": (f for n in names for f in check_third_party(n, texts[n])),
        "purity": (f for n in names for f in check_purity(n, texts[n])),
        "banned": (f for n in names for f in check_banned(n, codes[n])),
        "sizes": (f for n in names for f in check_sizes(n, texts[n], codes[n])),
        "headers": (f for n in names for f in check_header(n, texts[n])),
        "headers-alone": check_compiles_alone(names),
        "format": check_format(names),
        "conflicts": check_conflicts(),
        "rows": rows.check(names),
        "effects": effects.check(names, python_tests()),
    }
    failed = 0
    for rule, findings in rules.items():
        found = list(findings)
        for finding in found:
            print(f"{rule}: {finding}")
        failed += bool(found)
    print(f"{len(rules) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
