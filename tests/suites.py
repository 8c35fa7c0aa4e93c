"""The suites of tests/run, in order, and the sum of what they say.

A suite is a command over a build folder. It counts by the lines "N passed, N failed" that it
prints; one that ends with an error and says of no failed test counts as one failed test, and so
does one whose folder cannot be built. What a suite printed stays in build-logs/.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

COUNT = re.compile(r"^\s*(\d+) passed, (\d+) failed\s*$", re.M)
JOBS = os.environ.get("JOBS", str(os.cpu_count() or 2))
SUITE_SECONDS = 1800  # that one suite may take: it hangs
SHOWN_LINES = 60      # of a failed suite's output
LOGS = "build-logs"

# folder: (compiler, options of meson). One of clang for its warnings, clang-tidy and the fuzz
# targets: what is measured or run for long is built by gcc.
FOLDERS = {
    "build": ("gcc", "-Dwerror=true"),
    "build-clang": ("clang", "-Dwerror=true -Dfuzz=true -Doptimization=1"),
    "build-asan": ("gcc", "-Dwerror=true -Db_sanitize=address,undefined"),
}

# name, folder that it needs (None: none), what to run once that is built
SUITES = [
    ("tidy", None, "python3 tests/tidy/tidy.py"),
    ("build-gcc", "build", "true"),
    ("build-clang", "build-clang", "true"),
    ("build-sanitized", "build-asan", "true"),
    ("clang-tidy", "build-clang", "python3 tests/tidy/clang_tidy.py build-clang"),
    ("unit", "build", "python3 tests/meson_tests.py build unit kernel"),
    ("unit-sanitized", "build-asan", "python3 tests/meson_tests.py build-asan unit kernel"),
    ("simulator", "build", "python3 tests/meson_tests.py build sim"),
    ("simulator-sanitized", "build-asan", "python3 tests/meson_tests.py build-asan sim"),
    ("fuzz", "build-clang", "python3 tests/fuzz/smoke.py build-clang 10"),
    ("peers", "build", "python3 tests/meson_tests.py build peers"),
    ("peers-sanitized", "build-asan",
     "python3 tests/meson_tests.py build-asan 'peers behaviours' 'peers cli' 'peers probe'"),
    ("quickstart", None, "./quickstart --messages 200"),
]


def run(command, log):
    """The exit code, 124 when it takes too long; its output is appended to the log."""
    with open(log, "a") as out:
        process = subprocess.Popen(["bash", "-c", command], stdout=out, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            return process.wait(SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"not done after {SUITE_SECONDS} s", file=out)
            return 124
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # whoever is left of it, at ^C too
            except ProcessLookupError:
                pass
            process.wait()


def configure(folder, log):
    """Makes the build folder, or gives the one that is there these options; begins anew where
    what is there cannot be used."""
    compiler, options = FOLDERS[folder]
    again = os.path.exists(f"{folder}/build.ninja")
    code = run(f"CC={compiler} meson setup {'--reconfigure' if again else ''} {folder} {options}",
               log)
    if code != 0 and again:
        shutil.rmtree(folder)
        code = run(f"CC={compiler} meson setup {folder} {options}", log)
    return code


def build(folder, log, configured):
    if folder not in configured:
        code = configure(folder, log)
        if code != 0:
            return code
        configured.add(folder)
    return run(f"ninja -C {folder} -j{JOBS} -k20", log)


def run_suite(name, folder, command, configured):
    """(passed, failed) of one suite; its output goes to the log and, on failure, to the screen."""
    begin = time.monotonic()
    log = f"{LOGS}/{name}.log"
    open(log, "w").close()
    code = build(folder, log, configured) if folder is not None else 0
    if code == 0:
        code = run(command, log)
    with open(log, errors="replace") as file:
        text = file.read()
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
        print("\n".join(text.splitlines()[-SHOWN_LINES:]), flush=True)
    return passed, failed


def main():
    wanted = sys.argv[1:]
    names = [name for name, _, _ in SUITES]
    if "--list" in wanted:
        print("\n".join(names))
        return 0
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"tests/run: no suite {unknown[0]} (tests/run --list shows them)", file=sys.stderr)
        return 64
    os.makedirs(LOGS, exist_ok=True)
    configured = set()
    passed = failed = 0
    for name, folder, command in SUITES:
        if not wanted or name in wanted:
            one = run_suite(name, folder, command, configured)
            passed += one[0]
            failed += one[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
