"""Rows of the table of hostile cases and of delivery behaviours, and the tests named after them.

A test in C is named `s27_…`, `c14_…`, `behaviour_20_…` (a test of several rows `c8_c9_…`), one in
Python "C14 …" or "behaviour 16 …"; behaviours.py names its tests by the bare number. Every row that is
in scope has a test of its name, and no test bears the name of a row that there is not."""
import importlib
import os
import re
import sys

# Of tests/peers, whose tests are named after rows.
SUITES = ["behaviours", "hostile", "policy_backoff", "policy_rows", "policy_auth"]


def numbered(letter, *spans):
    return [f"{letter}{number}" for first, last in spans for number in range(first, last + 1)]


IN_SCOPE = [
    *numbered("S", (1, 19), (23, 33), (40, 40), (42, 45)),
    *numbered("C", (1, 26), (29, 43)),
    *numbered("T", (1, 3)),
    *numbered("K", (1, 3), (6, 13)),
    *numbered("behaviour ", (1, 29), (33, 33), (39, 40)),
]
# Rows of what is not built yet; who builds it moves its rows up. K4 and K5: signing keys, and the
# certificates of listeners; expiry, too, is for who builds those.
LATER = [
    *numbered("S", (20, 22), (34, 39), (41, 41)),
    *numbered("C", (27, 28)),
    *numbered("R", (1, 15)),
    *numbered("K", (4, 5)),
    *numbered("behaviour ", (30, 32), (34, 38), (41, 50)),
]


def tests_in_c(names):
    """(row, file:line) of each test; the row as the table writes it."""
    for name in names:
        if not (name.startswith("tests/") and name.endswith(".c")):
            continue
        with open(name, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                found = re.match(r"TEST\(((?:(?:[scrkt]|behaviour_)\d+_)+)", line)
                if found is None:
                    continue
                for row in re.findall(r"(behaviour_|[a-z])(\d+)_", found.group(1)):
                    yield (row[0].upper() if len(row[0]) == 1 else "behaviour ") + row[1], \
                        f"{name}:{number}"


def tests_of_peers():
    """The same of the suites in Python, which say themselves what tests they have."""
    folder = os.path.abspath("tests/peers")
    sys.path.insert(0, folder)
    for suite in SUITES:
        importlib.import_module(suite)
    for name, function, *_ in importlib.import_module("harness").TESTS:
        code = function.__code__
        file = os.path.relpath(code.co_filename)
        bare = file.endswith("behaviours.py")
        found = re.match(r"\d+ " if bare else r"(?:behaviour |[SCRKT])\d+ ", name)
        if found:
            yield ("behaviour " if bare else "") + found.group(0).strip(), \
                f"{file}:{code.co_firstlineno}"


def tests_by_row(names):
    table = {}
    for row, place in [*tests_in_c(names), *tests_of_peers()]:
        table.setdefault(row, []).append(place)
    return table


def check(names):
    table = tests_by_row(names)
    for row in IN_SCOPE:
        if row not in table:
            yield f"{row}: no test is named after it"
    for row in sorted(set(table) - set(IN_SCOPE) - set(LATER)):
        yield f"{table[row][0]}: there is no row {row}"


def show(names):
    """Prints the rows in scope, each with its tests, a file once."""
    table = tests_by_row(names)
    for row in IN_SCOPE:
        files = {}
        for place in table.get(row, []):
            file, line = place.rsplit(":", 1)
            files.setdefault(file, []).append(line)
        print(f"{row:13} " + "  ".join(f"{file}:{','.join(lines)}"
                                       for file, lines in files.items()))
