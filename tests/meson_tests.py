"""Runs the tests of a meson build folder that are of the kinds given, or have the names given.

meson_tests.py FOLDER KIND|NAME…: a kind is the first word of a name. Prints what each test said of
its own count, so that tests/run can add it up; a test without a count line counts as one."""
import json
import re
import subprocess
import sys

COUNT = re.compile(r"^\s*(\d+) passed, (\d+) failed", re.M)
TIMES = "3"  # the timeouts are for a quiet machine


def chosen(folder, words):
    listed = json.loads(subprocess.run(["meson", "introspect", folder, "--tests"],
                                       capture_output=True, check=True).stdout)
    names = [test["name"] for test in listed]
    for word in words:
        if not any(word in (name, name.split(" ")[0]) for name in names):
            raise SystemExit(f"no test {word} in {folder}")
    return [name for name in names if name in words or name.split(" ")[0] in words]


def quoted(text):
    """Not to be taken for a count of ours."""
    return "\n".join(f"| {line}" for line in text.splitlines())


def report(test):
    """Prints one test; whether it is good."""
    text = test.get("stdout", "")
    count = COUNT.findall(text)
    good = test["result"] == "OK"
    print(f"{test['name']}: {test['result']} {test['duration']:.1f} s")
    if not good:
        print(quoted(text[-6000:] + test.get("stderr", "")[-3000:]))
    if count and (good or any(int(failed) for _, failed in count)):
        print("\n".join(f"{passed} passed, {failed} failed" for passed, failed in count))
    else:
        print("1 passed, 0 failed" if good else "0 passed, 1 failed")
    return good


def main():
    folder, words = sys.argv[1], sys.argv[2:]
    names = chosen(folder, words)
    log = words[0].replace(" ", "-")
    run = subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--logbase", log,
                          "-t", TIMES, *names], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, errors="replace")
    with open(f"{folder}/meson-logs/{log}.json") as file:
        tests = [json.loads(line) for line in file]
    good = [report(test) for test in tests]
    if len(tests) != len(names):
        print(f"{quoted(run.stdout[-3000:])}\n{len(names)} tests were to run, {len(tests)} did")
        return 1
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
