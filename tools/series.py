#!/usr/bin/env python3
"""Turn patches/ into commits in libvirt/ (make source), and commits into patches/ (make export).

Both ways are deterministic: the release tarball always becomes the same base commit, a patch always the same
commit on top of it. So one hash, the gitlink of libvirt/ in this repository, stands for tarball and patches.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
LIBVIRT = TOP / "libvirt"
PATCHES = TOP / "patches"
BUILD = TOP / "build"
COVER = PATCHES / "0000-cover-letter.patch"

VERSION, SHA256 = re.findall(r"^\w+=(\S+)$", (TOP / "tools/libvirt.version").read_text(), re.MULTILINE)
TAG = f"v{VERSION}"
BASE = "7fecde4ccb1c6cf30b71031ecc07216c60f1b3c6"
BASE_MESSAGE = f"""\
libvirt {VERSION}

The files of the release tarball libvirt-{VERSION}.tar.xz,
sha256 {SHA256}.
"""
NAME = "Seed ebcf9d38 maintainers"
EMAIL = "maintainers@users.noreply.r-seed-ebcf9d38.example"
BASE_DATE = "2025-05-02T00:00:00+0000"

# The tip that make source or make export last left in libvirt/: what is there now may be replaced only if it is
# the base or this, since only then patches/ (or its history) has it.
KNOWN = "refs/series/known"
IMPORTED = "refs/series/imported"

# Nothing in the user's or the system's git configuration may change a commit or a patch. Identity and dates are
# those of the base commit, except where git am takes them from the patch.
ENV = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "core.abbrev",
    "GIT_CONFIG_VALUE_1": "12",
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_AUTHOR_DATE": BASE_DATE,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": EMAIL,
    "GIT_COMMITTER_DATE": BASE_DATE,
    "LC_ALL": "C.UTF-8",
}


class Failure(Exception):
    """What went wrong and what to do next."""


def run(*args: str | Path, cwd: Path = LIBVIRT, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output without the last newline."""
    done = subprocess.run(
        args, cwd=cwd, env=ENV | (env or {}), input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failure(f"{' '.join(map(str, args))}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout.rstrip("\n")


def resolve(revision: str) -> str | None:
    """The commit that REVISION of libvirt/ names, if there is one."""
    try:
        return run("git", "rev-parse", "--verify", "--quiet", revision + "^{commit}")
    except Failure:
        return None


def recorded() -> str | None:
    """The gitlink of libvirt/ in this repository's index."""
    match = re.match(r"160000 (\w+)", run("git", "ls-files", "--stage", "libvirt", cwd=TOP))
    return match and match[1]


def have_repository() -> bool:
    return (LIBVIRT / ".git").exists()


def patches(directory: Path = PATCHES) -> list[Path]:
    return [path for path in sorted(directory.glob("[0-9]*.patch")) if not path.name.startswith("0000-")]


def apply(base: str, series: list[Path]) -> str:
    """Commit SERIES on BASE, beside libvirt/'s own checkout, and return the tip."""
    if not series:
        return base
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="series.") as temporary:
        tree = Path(temporary, "tree")
        # No checkout: git am writes the files that it needs itself, and libvirt has thousands.
        run("git", "worktree", "add", "--quiet", "--no-checkout", "--detach", tree, base)
        try:
            run("git", "read-tree", "HEAD", cwd=tree)
            # --keep-non-patch: strip [PATCH n/m] from the subject, but no other brackets.
            run(
                *("git", "am", "--quiet", "--keep-cr", "--keep-non-patch", "--no-gpg-sign", "--no-3way"),
                *("--whitespace=nowarn", "--committer-date-is-author-date"),
                *series,
                cwd=tree,
            )
            return run("git", "rev-parse", "HEAD", cwd=tree)
        except Failure as failure:
            reasons = re.findall(r"^(?:Patch failed|error:|fatal:).*", str(failure), re.MULTILINE)
            advice = "Mend the patch, or get the recorded one back: git checkout patches"
            raise Failure("\n".join(["patches/ does not apply:", *reasons, advice])) from None
        finally:
            run("git", "worktree", "remove", "--force", tree)


def commit_of(tarball: Path) -> str:
    """Commit the files of a tarball, all at once: one by one they take four times as long."""
    date = f"{int(datetime.fromisoformat(BASE_DATE).timestamp())} +0000"
    message = BASE_MESSAGE.encode()
    command = ["git", "-c", "core.compression=1", "fast-import", "--quiet", "--depth=0"]
    with (
        subprocess.Popen(command, cwd=LIBVIRT, env=ENV, stdin=subprocess.PIPE) as importer,
        tarfile.open(tarball) as tar,
    ):
        assert importer.stdin
        write = importer.stdin.write
        write(f"commit {IMPORTED}\ncommitter {NAME} <{EMAIL}> {date}\n".encode())
        write(b"data %d\n%s" % (len(message), message))
        for member in tar:
            path = member.name.partition("/")[2]
            if member.issym():
                mode, content = "120000", member.linkname.encode()
            elif file := tar.extractfile(member):
                mode, content = "100755" if member.mode & 0o100 else "100644", file.read()
            else:
                continue
            write(f"M {mode} inline {path}\ndata {len(content)}\n".encode() + content + b"\n")
    if importer.returncode:
        raise Failure(f"git fast-import failed with the files of {tarball}")
    base = run("git", "rev-parse", IMPORTED)
    run("git", "update-ref", "-d", IMPORTED)
    return base


def import_tarball() -> None:
    """Make the base commit from the release tarball."""
    if not resolve(BASE):
        fetch = subprocess.run([TOP / "tools/fetch.sh"], stdout=subprocess.PIPE, text=True, check=False)
        if fetch.returncode:
            raise Failure("no tarball")
        print(f"Importing libvirt {VERSION}", flush=True)
        base = commit_of(Path(fetch.stdout.strip()))
        if base != BASE:
            raise Failure(f"the import gave commit {base} instead of {BASE}: please report this, with git --version")
    run("git", "tag", "--force", TAG, BASE)


def fetch_upstream(repository: str) -> None:
    """Get upstream's own tag, with its history, from a clone."""
    if Path(repository).is_dir():
        repository = str(Path(repository).resolve())
    print(f"Fetching {TAG} from {repository}", flush=True)
    run("git", "fetch", "--quiet", "--no-tags", repository, f"+refs/tags/{TAG}:refs/tags/{TAG}")


def refuse_to_lose_work() -> None:
    head = resolve("HEAD")
    if run("git", "status", "--porcelain"):
        raise Failure(
            "libvirt/ has uncommitted changes.\n"
            "Commit them there and run 'make export', or drop them with 'make source FORCE=1'."
        )
    if head not in (None, resolve(TAG), resolve(KNOWN), recorded()):
        raise Failure(
            "libvirt/ has commits that are not in patches/.\n"
            "Run 'make export' to keep them, or 'make source FORCE=1' to go back to patches/ (git -C libvirt reflog "
            "still finds them)."
        )


def init_repository() -> None:
    """Make libvirt/ an empty repository."""
    if LIBVIRT.exists() and any(LIBVIRT.iterdir()):
        raise Failure("libvirt/ has files but is no git repository: move it away and run 'make source' again")
    run("git", "init", "--quiet", "--object-format=sha1", "--initial-branch=series", LIBVIRT, cwd=TOP)
    # libvirt's build imports its own Python modules.
    (LIBVIRT / ".git/info/exclude").write_text("__pycache__/\n")


def stays(want: str | None, if_missing: bool) -> bool:
    """Return whether libvirt/ may stay as it is. Raises Failure if it must not be replaced either."""
    head = resolve("HEAD")
    if if_missing and head:
        if want and head != want:
            print(
                f"Note: libvirt/ is at {head[:12]}, not at the recorded {want[:12]}"
                " ('make source' goes there, 'make export' records it)."
            )
        return True
    force = os.environ.get("FORCE") == "1"
    if head and head == want and not os.environ.get("LIBVIRT_GIT") and not force:
        return True
    if not force:
        refuse_to_lose_work()
    return False


def source(if_missing: bool) -> None:
    upstream = os.environ.get("LIBVIRT_GIT")
    want = recorded()
    BUILD.mkdir(exist_ok=True)
    if not have_repository():
        init_repository()
    elif stays(want, if_missing):
        return

    # Not while "series" is checked out in an unfinished state: everything is made beside it first.
    if upstream:
        fetch_upstream(upstream)
    else:
        import_tarball()
    series = patches()
    print(f"Applying {len(series)} patches", flush=True)
    base = resolve(TAG)
    assert base
    tip = apply(base, series)
    run("git", "checkout", "--quiet", "--force", "-B", "series", tip)
    run("git", "update-ref", KNOWN, tip)
    if upstream:
        print(f"libvirt/ is at {tip}: the series on upstream's own {TAG}, so 'git status' shows it as changed.")
    elif want and tip != want:
        raise Failure(
            f"patches/ gives {tip}, but this repository records {want}.\n"
            "If patches/ is right, run 'make export' to record it."
        )
    else:
        print(f"libvirt/ is at {tip}")


def cover_prose() -> tuple[str, str]:
    """Subject and text of the cover letter, without what git adds to it."""
    if not COVER.exists():
        return "", ""
    message = message_from_bytes(COVER.read_bytes(), policy=policy.default)
    subject = re.sub(r"^\[PATCH[^]]*\] ", "", re.sub(r"\n[ \t]", " ", str(message["Subject"])))
    text = COVER.read_bytes().decode().split("\n\n", 1)[1]
    # git appends "Author (count):" with the subjects, then the diffstat.
    shortlog = r"\n(?:\S[^\n]* \(\d+\):\n(?:  [^\n]*\n)+\n)+(?: [^\n]*\n)*\s*\Z"
    return subject, re.sub(shortlog, "", "\n" + text).strip("\n")


def format_patches(base: str, directory: Path) -> None:
    subject, text = cover_prose()
    # git formats the cover letter from the branch's description.
    description = f"{subject or '*** SUBJECT HERE ***'}\n\n{text or '*** BLURB HERE ***'}\n"
    run(
        *("git", "-c", f"branch.series.description={description}", "format-patch", "--quiet", "--numbered"),
        *("--cover-letter", "--cover-from-description=subject", "--zero-commit", "--no-signature", "--binary"),
        *("-o", directory, f"{base}..series"),
        env={"GIT_COMMITTER_DATE": run("git", "log", "-1", "--format=%aD", "series")},
    )


def shape(base: str, tip: str) -> list[str]:
    """All of each commit that patches/ must carry over."""
    return run("git", "log", "--reverse", "--format=%T %an <%ae> %ad%n%B%x00", f"{base}..{tip}").split("\0\n")


def exported_base() -> str:
    """Return the commit that the series is based on. Raises Failure if it cannot be exported as it is."""
    base = resolve(TAG) if have_repository() else None
    if not base:
        raise Failure("there is no series in libvirt/: run 'make source' first")
    try:
        branch = run("git", "symbolic-ref", "--short", "HEAD")
    except Failure:
        branch = "a detached HEAD"
    if branch != "series":
        raise Failure(f"libvirt/ is on {branch}: go to the branch that is exported, git -C libvirt checkout series")
    if run("git", "rev-list", "--merges", f"{base}..series"):
        raise Failure("the series has merge commits: rebase it, git -C libvirt rebase " + TAG)
    if run("git", "merge-base", base, "series") != base:
        raise Failure(f"the series is not based on {TAG}: git -C libvirt rebase --onto {TAG} ...")
    if run("git", "status", "--porcelain", "--untracked-files=no"):
        print("Note: uncommitted changes in libvirt/ are not exported.")
    return base


def write_patches(base: str) -> tuple[int, str]:
    """Write the series to patches/, and return how many patches it has and the commit that they give."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="export.") as temporary:
        out = Path(temporary)
        if resolve("series") != base:
            format_patches(base, out)
        series = patches(out)
        # What the patches give is what is recorded: a commit's other properties (committer, date) are dropped.
        tip = apply(base, series)
        for number, (wanted, got) in enumerate(zip(shape(base, "series"), shape(base, tip), strict=True), 1):
            if wanted != got:
                raise Failure(
                    f"commit {number} does not survive as a patch: reword its message (the subject must be one line, "
                    "a line '---' or 'diff ' ends the message, a first line 'From:' is taken as the author).\n"
                    f"--- commit\n{wanted}\n--- patch\n{got}"
                )
        PATCHES.mkdir(exist_ok=True)
        for old in PATCHES.glob("[0-9]*.patch"):
            if series or old != COVER:
                old.unlink()
        for new in sorted(out.glob("*.patch")):
            shutil.copy(new, PATCHES)
    return len(series), tip


def export() -> None:
    base = exported_base()
    count, tip = write_patches(base)
    # The tree is the same, so the checkout and changes in it stay as they are.
    run("git", "update-ref", "-m", "export", "refs/heads/series", tip)
    run("git", "update-ref", KNOWN, tip)
    run("git", "add", "--all", "patches", cwd=TOP)
    if base == BASE:
        run("git", "update-index", "--add", "--cacheinfo", f"160000,{tip},libvirt", cwd=TOP)
        changed = run("git", "diff", "--cached", "--name-only", "--", "patches", "libvirt", cwd=TOP)
        todo = "staged. Commit them together." if changed else "as committed."
        print(f"patches/ has {count} patches, libvirt/ is at {tip}: {todo}")
    else:
        print(f"patches/ has {count} patches; staged. They are based on upstream's own {TAG}, so the gitlink")
        print("stays as it is: run 'make source' without LIBVIRT_GIT and 'make export' to record it.")
    if count and "*** BLURB HERE ***" in COVER.read_text():
        print(f"Now write the cover letter's subject and text into {COVER.relative_to(TOP)}.")


def verify() -> None:
    want = recorded()
    if not want:
        raise Failure("this repository records no commit for libvirt/: run 'make export'")
    if not have_repository() or not resolve(BASE):
        raise Failure("libvirt/ has no import of the release tarball: run 'make source'")
    tip = apply(BASE, patches())
    if tip != want:
        raise Failure(f"patches/ gives {tip}, but {want} is recorded: run 'make source' or 'make export'")
    print(f"patches/ ({len(patches())} patches) gives the recorded commit {want}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parse_source = commands.add_parser("source", help="patches/ to libvirt/")
    parse_source.add_argument("--if-missing", action="store_true", help="leave a libvirt/ that is there as it is")
    commands.add_parser("export", help="libvirt/ to patches/")
    commands.add_parser("verify", help="check that patches/ gives the recorded commit")
    args = parser.parse_args()
    try:
        if args.command == "source":
            source(args.if_missing)
        elif args.command == "export":
            export()
        else:
            verify()
    except Failure as failure:
        print(f"{args.command}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
