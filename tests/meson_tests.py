"""Runs the tests of a meson build folder whose names begin with one of the words given.

Prints what each test said of its own count, so that tests/run can add it up; a test without a
count line counts as one.
"""
import json
import re
import subprocess
import sys

COUNT = re.compile(r"^\s*(\d+) passed, (\d+) failed", re.M)


def main():
    folder, words = sys.argv[1], sys.argv[2:]
    listed = json.loads(subprocess.run(["meson", "introspect", folder, "--tests"],
                                       capture_output=True, check=True).stdout)
    names = [test["name"] for test in listed if test["name"].split(" ")[0] in words]
    if not names:
        print(f"no tests {words} in {folder}")
        return 1
    subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--logbase", words[0],
                    *names], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    bad = 0
    for line in open(f"{folder}/meson-logs/{words[0]}.json"):
        test = json.loads(line)
        text = test.get("stdout", "")
        count = COUNT.findall(text)
        good = test["result"] == "OK"
        print(f"{test['name']}: {test['result']} {test['duration']:.1f} s")
        if not good:
            print(text[-6000:] + test.get("stderr", "")[-3000:])
            bad += 1
        if count and (good or any(int(failed) for _, failed in count)):
            print("\n".join(f"{passed} passed, {failed} failed" for passed, failed in count))
        else:
            print("1 passed, 0 failed" if good else "0 passed, 1 failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
