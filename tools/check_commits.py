#!/usr/bin/env python3
"""Check the messages of this repository's commits, as CONTRIBUTING.md describes them.

A subject is "area: Imperative summary" in at most 72 columns, and a body says why. The rule holds for the commits after
the one in tools/commit-rule-since; merges are left out. Exit status 1 names each commit that breaks it.
"""

import re
import sys

import series

SINCE = (series.TOP / "tools/commit-rule-since").read_text().split()[0]
COLUMNS = 72


def wrong(message: str) -> str:
    """Return what is wrong with a commit's message, or an empty string."""
    subject, _, body = message.strip().partition("\n")
    if len(subject) > COLUMNS:
        return f"the subject has {len(subject)} columns, {COLUMNS} are allowed"
    if not re.match(r"[\w./-]+(, [\w./-]+)*: [A-Z]", subject):
        return 'the subject is not "area: Imperative summary"'
    return "" if body.strip() else "there is no body that says why"


def main() -> int:
    """Check the commits, and return 1 if one is wrong."""
    try:
        log = series.run("git", "log", "--no-merges", "--format=%h%x00%B%x01", f"{SINCE}..HEAD", cwd=series.TOP)
    except series.Failure:
        print(f"the history before {SINCE} is missing here (a shallow clone?): messages are not checked")
        return 0
    commits = [entry.strip().split("\0") for entry in log.split("\1") if entry.strip()]
    found = [
        f"{name} {message.strip().splitlines()[0]}: {wrong(message)}" for name, message in commits if wrong(message)
    ]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
