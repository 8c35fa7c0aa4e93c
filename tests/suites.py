"""The suites of tests/run, in order, and the sum of what they say.

A suite is a command. It counts by the lines "N passed, N failed" that it prints; one that ends
with an error and says of no failed test counts as one failed test.
"""
import os
import re
import subprocess
import sys
import time

COUNT = re.compile(r"^\s*(\d+) passed, (\d+) failed(?:, \d+ skipped)?\s*$", re.M)
JOBS = os.environ.get("JOBS", str(os.cpu_count() or 2))
SHORT = 1800  # seconds that one suite may take


def setup(folder, *options, compiler="gcc"):
    """A shell command that makes the build folder, or reuses it, and builds."""
    words = " ".join(options)
    return (f"( test -f {folder}/build.ninja || CC={compiler} meson setup {folder} "
            f"-Dwerror=true {words} ) && ninja -C {folder} -j{JOBS}")


def meson_tests(folder, *suites):
    """Runs the tests of a build folder; their own count lines come through."""
    words = " ".join(suites)
    return (f"ninja -C {folder} -j{JOBS} >/dev/null && python3 tests/meson_tests.py {folder} "
            f"{words}")


SANITIZE = ("-Db_sanitize=address,undefined", "-Db_lundef=false")

SUITES = [
    ("tidy", "python3 tests/tidy/tidy.py"),
    ("build-gcc", setup("build", "--buildtype=debugoptimized")),
    ("build-clang", setup("build-clang", compiler="clang")),
    ("build-sanitized", setup("build-asan", *SANITIZE)),
    ("clang-tidy", "python3 tests/tidy/clang_tidy.py build-clang"),
    ("unit", meson_tests("build", "unit", "kernel")),
    ("unit-sanitized", meson_tests("build-asan", "unit", "kernel")),
    ("simulator", meson_tests("build", "sim")),
    ("simulator-sanitized", "build-asan/tests/sim/sim --worlds 20"),
    ("fuzz", setup("build-fuzz", "-Dfuzz=true", compiler="clang").replace(
        "ninja -C build-fuzz", f"ninja -C build-fuzz $(ninja -C build-fuzz -t targets all | "
        "grep -o '^tests/fuzz/fuzz_[a-z_]*:' | tr -d :)") +
     " && python3 tests/fuzz/smoke.py build-fuzz 10"),
    ("peers", meson_tests("build", "peers")),
]


def run_suite(name, command):
    """(passed, failed) of one suite; its output goes to the log and, on failure, to the screen."""
    begin = time.monotonic()
    os.makedirs("build-logs", exist_ok=True)
    log = f"build-logs/{name}.log"
    with open(log, "w") as out:
        try:
            code = subprocess.run(["bash", "-c", command], stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=SHORT).returncode
        except subprocess.TimeoutExpired:
            code = 124
    text = open(log, errors="replace").read()
    counts = COUNT.findall(text)
    passed = sum(int(count[0]) for count in counts)
    failed = sum(int(count[1]) for count in counts)
    if code != 0 and failed == 0:
        failed = 1
    if code == 0 and not counts:
        passed = 1
    seconds = time.monotonic() - begin
    print(f"{name:22} {passed:6} passed {failed:4} failed  {seconds:6.1f} s", flush=True)
    if failed:
        print("\n".join(text.splitlines()[-60:]), flush=True)
    return passed, failed


def main():
    wanted = sys.argv[1:]
    if "--list" in wanted:
        print("\n".join(name for name, _ in SUITES))
        return 0
    unknown = [name for name in wanted if name not in dict(SUITES)]
    if unknown:
        print(f"tests/run: no suite {unknown[0]} (tests/run --list shows them)", file=sys.stderr)
        return 64
    passed = failed = 0
    for name, command in SUITES:
        if not wanted or name in wanted:
            one = run_suite(name, command)
            passed += one[0]
            failed += one[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
