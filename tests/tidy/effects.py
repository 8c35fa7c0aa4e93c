"""The table of effects: each directive that is said to have an effect, and the tests that see it.

A row of policy/directives*.def whose effect is YES needs a test marked, in a comment of its own
right above it, with `effect: SCOPE NAME` (SCOPE: the block's tag, global outside of blocks). Such a
test looks at what the engine does: at the sink, in files, in simulated time, in what it answers;
one that looks at a parsed value is none. A mark of what does not exist or has no effect yet fails
as well."""
import re

TABLES = ["global", "source", "domain", "other"]  # policy/directives_….def
ROW = re.compile(r"^(?:DIRECTIVE|REPEATED|SPECIAL)\((\w+), \"([^\"]+)\",(.*?)\)$", re.M | re.S)
EFFECT = re.compile(r"\b(YES|NOT_YET),\s*\"")
MARK = re.compile(r"^\s*(?:#|/\*|\*) effect: ([a-z0-9-]+) (\*|[a-z0-9.-]+)(?: \*/)?$")
# How a test begins, in C and in Python.
BEGIN = re.compile(r"^(?:TEST\(|@test\(|def |    def )")


def tag(scope):
    """The name of a block by the name of its scope in the tables."""
    with open("policy/blocks.def", encoding="utf-8") as file:
        known = dict((scope, name) for name, scope in
                     reversed(re.findall(r'^BLOCK\("([^"]+)", (\w+),', file.read(), re.M)))
    return known[scope] if scope in known else scope.lower()


def directives():
    """(scope, name) -> (True where it has an effect, file:line)."""
    out = {}
    tags = {}
    for table in TABLES:
        path = f"policy/directives_{table}.def"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for found in ROW.finditer(text):
            scope, name, rest = found.groups()
            effect = EFFECT.search(rest)
            if scope not in tags:
                tags[scope] = tag(scope)
            line = text.count("\n", 0, found.start()) + 1
            out[tags[scope], name] = (effect.group(1) == "YES", f"{path}:{line}")
    return out


def marks(names):
    """(scope, name) -> [file:line, …]; and findings about marks that stand above no test."""
    out, findings = {}, []
    for name in names:
        with open(name, encoding="utf-8") as file:
            lines = file.read().split("\n")
        pending = []
        for number, line in enumerate(lines, 1):
            found = MARK.match(line)
            if found:
                pending.append((found.groups(), number))
            elif "effect: " in line and re.match(r"^\s*(?:#|/\*|\*) effect: ", line):
                findings.append(f"{name}:{number}: not of the form 'effect: SCOPE NAME'")
            elif pending and BEGIN.match(line):
                for mark, place in pending:
                    out.setdefault(mark, []).append(f"{name}:{place}")
                pending = []
            elif pending and not re.match(r"^\s*(?:#|/?\*|$)", line):
                findings.append(f"{name}:{pending[0][1]}: the mark stands above no test")
                pending = []
    return out, findings


def marked_files(names, peers):
    return [name for name in [*names, *peers]
            if name.startswith("tests/") and name.endswith((".c", ".py"))]


def check(names, peers):
    """names: sources in C; peers: the tests in Python."""
    table = directives()
    seen, findings = marks(marked_files(names, peers))
    yield from findings
    for mark, places in seen.items():
        if mark not in table:
            yield f"{places[0]}: there is no directive {mark[1]} in {mark[0]}"
        elif not table[mark][0]:
            yield f"{places[0]}: {mark[0]} {mark[1]} is not yet in effect, says {table[mark][1]}"
    for row, (effective, place) in table.items():
        if effective and row not in seen:
            yield f"{place}: {row[0]} {row[1]} has no test marked 'effect: {row[0]} {row[1]}'"


def show(names, peers):
    """Prints every directive with the tests of its effect, a line each."""
    seen, _ = marks(marked_files(names, peers))
    for row, (effective, _) in directives().items():
        tests = seen.get(row, []) if effective else ["not yet in effect"]
        print(f"{row[0]:18} {row[1]:38} " + ("  ".join(tests) or "no test yet"))
