"""The private daemons: started for ./run, exchanged by tests that need another one, and ended.

./run uses this with whatever Python there is, so nothing here is needed at run time but the standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qs, urlsplit

from integration.arch import BOOTED, find
from integration.paths import BUILD, ROOT

if TYPE_CHECKING:
    import libvirt

SYSTEM = os.geteuid() == 0
"""As root the daemons are system daemons, otherwise session daemons."""

_IDLE = 30
"""Seconds after which a daemon without clients and running guests ends."""

_LIMIT = 60
"""Seconds that a daemon may take to start or to end; libvirt itself gives it 30 to end in order."""

_HANGING = ("virtnodedevd", "libvirtd")
"""These of libvirt 11.3.0 at times use up their 30: they hold a lock that the thread they wait for needs."""
_PATIENCE = 5
"""Seconds after which such a one is killed."""

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

_BIND = 'for dir in etc var run; do mount --bind "$1/$dir" "$0/$dir" || exit; done; shift; exec "$@"'
_COMPANIONS = ["virtnetworkd", "virtstoraged", "virtsecretd", "virtnodedevd"]
"""virtqemud passes requests about networks, pools, secrets and host devices on to them; a session's are started so."""

BUILDS = {
    "": BUILD / "libvirt",
    "optimized": BUILD / "optimized",
    "sanitized": BUILD / "sanitized",
    "stock": BUILD / "stock/build/libvirt",
    "stock-optimized": BUILD / "stock/build/optimized",
}
"""The build directories, in which daemons are run: they find their drivers and helpers there."""

LONGEST = 2
"""Letters that a host's name may have."""

_QEMU_CONF = """\
# Written by integration/host/daemons.py. The guests log to files, as there is no private virtlogd, and the host's
# confinement (AppArmor, SELinux, cgroups, namespaces) knows nothing of a daemon in a build directory.
stdio_handler = "file"
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
"""

_FEWER_QUESTIONS = """\
# At each start libvirt would ask QEMU about 400 properties of the CPU, one by one, which takes three quarters of the
# time of a start. Such a guest is tainted ("custom-hypervisor-feature"). What is measured starts as anywhere.
capability_filters = [ "cpu-unavailable-features" ]
"""


@dataclass(frozen=True)
class Host:
    """The directories of a set of daemons. The names are short: see check_paths()."""

    name: str = ""

    @property
    def top(self) -> Path:
        """Where all of them are."""
        return BUILD / f"h-{self.name}" if self.name else BUILD

    @property
    def runtime(self) -> Path:
        """Sockets and the state of running guests."""
        return self.top / "run"

    @property
    def config(self) -> Path:
        """Configuration and stored definitions (in libvirt/); a session daemon keeps its state here, too."""
        return self.top / ("etc" if SYSTEM else "cfg")

    @property
    def cache(self) -> Path:
        """Caches: the emulators' capabilities (in libvirt/), and those of clients."""
        return self.top / "var/cache"

    @property
    def logs(self) -> Path:
        """The daemons' logs."""
        return self.top / "var/log/libvirt" if SYSTEM else self.cache / "libvirt/log"

    def address(self, daemon: str) -> Path:
        """Return a daemon's socket."""
        return self.runtime / "libvirt" / ("libvirt-sock" if daemon == "libvirtd" else f"{daemon}-sock")

    def connect(self, daemon: str) -> socket.socket | None:
        """Connect to a daemon; None if it is not up."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self.address(daemon)))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        return connection


def _die(text: str) -> NoReturn:
    sys.exit(f"run: {text}")


def check_paths() -> None:
    """End with a message if this checkout's path is of no use.

    A socket's path has at most 107 bytes, and libvirt puts one for each guest below its state directory.
    """
    # A system daemon sees its files below build/ on every host: see _start().
    library = BUILD / "var/lib" if SYSTEM else Host(LONGEST * "x").config
    guest = "libvirt/qemu/domain-999-" if SYSTEM else "libvirt/qemu/lib/domain-999-"
    longest = 107 - len(os.fsencode(library / f"{guest}{20 * 'x'}/monitor.sock")) + len(os.fsencode(ROOT))
    if re.search(r"[\s,:]", str(ROOT)):
        _die(f"the path of this checkout, {ROOT}, has a space, comma or colon: move it")
    if len(os.fsencode(ROOT)) > longest:
        _die(f"{ROOT} is too long for the sockets of daemons: move this checkout to a path of at most {longest} bytes")


def _executable(daemon: str, build: str) -> Path:
    """Name the program; the companions of any virtqemud are the patched ones."""
    return BUILDS["" if daemon in _COMPANIONS else build] / "src" / daemon


def _peer(connection: socket.socket) -> int:
    """Return the daemon's process ID."""
    pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def _reaped(command: list[str | Path], env: dict[str, str]) -> tuple[int, str]:
    """Run what starts a daemon, and return its exit status and its output.

    A process stays behind that reaps the daemon and its guests when they end. libvirt waits for that when it destroys
    a guest, and in a container process 1 may take seconds or never do it.
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read) as pipe:
            status, _, output = pipe.read().partition("\n")
        return int(status or 1), output
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    limit = 2 * _LIMIT
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=limit
        )
        answer = f"{done.returncode}\n{done.stdout}{done.stderr}"
    except (OSError, subprocess.SubprocessError) as error:
        answer = f"1\n{error}"
    os.write(write, answer.encode())
    os.chdir("/")
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))  # the lock and the connections of _hold() among them
    try:
        while True:
            os.wait()
    except ChildProcessError:
        os._exit(0)


def _start(host: Host, daemon: str, program: Path) -> None:
    """Start a daemon; returns when it is ready."""
    log = host.logs / f"{daemon}.log"
    if not program.exists():
        _die(f"there is no {program}: run 'make build'")
    # Inside another ./run this leads to the patched libraries, which are not the stock daemon's.
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    command: list[str | Path] = [program, "--daemon", "--timeout", str(_IDLE)]
    if not SYSTEM:
        env |= {
            "XDG_RUNTIME_DIR": str(host.runtime),
            "XDG_CONFIG_HOME": str(host.config),
            "XDG_CACHE_HOME": str(host.cache),
            "XDG_DATA_HOME": str(host.top / "var/lib"),
        }
    elif host.name:
        # A system daemon's directories are compiled in: it sees those of its host there.
        command = ["unshare", "--mount", "sh", "-c", _BIND, BUILD, host.top, *command]
    seen = BUILD / log.relative_to(host.top) if SYSTEM else log
    env.setdefault("LIBVIRT_LOG_OUTPUTS", f"3:file:{seen}")
    for _ in range(100):
        status, output = _reaped(command, env)
        # One that is just ending has no socket any more, but its pid file.
        if status == 0 or "pidfile" not in output:
            break
        time.sleep(0.1)
    if status:
        last = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        _die("\n".join([f"{daemon} does not start (see {log}):", *last, output.strip()]))


def _hold(host: Host, daemon: str, build: str) -> None:
    """Have a daemon and its companions up, and keep them up for this process's life by one open connection to each."""
    wanted = [daemon, *(_COMPANIONS if SYSTEM and daemon == "virtqemud" else ())]
    others = ["libvirtd"] if daemon == "virtqemud" else ["virtqemud", *_COMPANIONS]
    for directory in (host.runtime, host.config / "libvirt", host.logs):
        directory.mkdir(parents=True, exist_ok=True, mode=0o755 if SYSTEM else 0o700)
    # Clients look for the system daemons' sockets here.
    if SYSTEM and not (host.top / "var/run").is_symlink():
        (host.top / "var/run").symlink_to("../run")
    with open(host.top / "run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        up = [other for other in others if host.connect(other)]
        if up:
            _die(
                f"daemons that manage the same guests are running: {', '.join(up)}. "
                "Wait until they exit, or run './run --stop'"
            )
        fewer = "" if build.endswith("optimized") else _FEWER_QUESTIONS
        (host.config / "libvirt/qemu.conf").write_text(_QEMU_CONF + fewer)
        for name in wanted:
            program = _executable(name, build)
            connection = host.connect(name)
            if not connection:
                if host.name:
                    ident = uuid.uuid5(uuid.NAMESPACE_URL, f"{BUILD}/{host.name}")
                    (host.config / f"libvirt/{name}.conf").write_text(f'host_uuid = "{ident}"\n')
                _start(host, name, program)
                connection = host.connect(name)
            if not connection:
                _die(f"{name} does not answer at {host.address(name)}")
            # One that was installed again meanwhile is "... (deleted)".
            running = os.readlink(f"/proc/{_peer(connection)}/exe").removesuffix(" (deleted)")
            if running != str(program):
                _die(f"{running} is running. Wait until it exits, or run './run --stop'")
            # Left open across exec: an idle daemon must not end while the command is between two connections.
            os.set_inheritable(connection.detach(), True)


def stop_all() -> None:
    """End all private daemons, of all hosts; guests run on."""
    stop(Host(), *(Host(path.name.removeprefix("h-")) for path in BUILD.glob("h-*")))


def stop(*hosts: Host, companions: bool = True) -> None:
    """End the daemons of these hosts, with their companions or without; guests run on."""
    daemons = {}
    for host in hosts:
        for daemon in ("virtqemud", "libvirtd", *(_COMPANIONS if companions else ())):
            connection = host.connect(daemon)
            if connection:
                with connection:
                    daemons[os.pidfd_open(_peer(connection))] = daemon
    for process in daemons:
        signal.pidfd_send_signal(process, signal.SIGTERM)
    up = _not_ended(daemons)
    for process in up:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    if up:
        _die(f"did not end within {_LIMIT} s, and were killed: {', '.join(daemons[process] for process in up)}")


def _not_ended(daemons: dict[int, str]) -> list[int]:
    """Wait for daemons that were told to end, given with their names, and return those which have not."""
    for process in _up([process for process, name in daemons.items() if name in _HANGING], _PATIENCE):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    return _up(daemons, _LIMIT)


def _up(processes: Iterable[int], seconds: float) -> list[int]:
    """Wait for processes to end, and return those which have not after ``seconds``."""
    deadline = time.monotonic() + seconds
    up = list(processes)
    while up and (left := deadline - time.monotonic()) > 0:
        ended = select.select(up, [], [], left)[0]
        up = [process for process in up if process not in ended]
    return up


def _variable(emulator: str) -> str:
    """Return the environment's name for an emulator, such as QEMU_SYSTEM_X86_64."""
    return f"QEMU_SYSTEM_{emulator.rpartition('-')[2].upper()}"


def _environment(host: Host, daemon: str, build: str) -> dict[str, str]:
    def prepend(variable: str, *paths: Path) -> str:
        return ":".join([*map(str, paths), *filter(None, [os.environ.get(variable)])])

    env = dict(os.environ)
    # Clients, and libvirt-python, are the patched ones beside any daemon.
    own = BUILDS["optimized" if build == "optimized" else ""]
    env["PATH"] = prepend("PATH", BUILD / "venv/bin", own / "tools", own / "src", ROOT / "libvirt/tools")
    # For Debian's own libvirt clients, like virt-install: their python3-libvirt then uses the patched library.
    env["LD_LIBRARY_PATH"] = prepend("LD_LIBRARY_PATH", own / "src")
    # The library then looks for its data in libvirt/.
    env["LIBVIRT_DIR_OVERRIDE"] = "1"
    # Where clients and tests write what they do not have to.
    env["XDG_CACHE_HOME"] = str(host.cache)
    env["PYTEST_DEBUG_TEMPROOT"] = str(BUILD)
    # pytest's workers would each compile all modules and rewrite all assertions.
    env["PYTHONPYCACHEPREFIX"] = str(BUILD / "pycache")
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    mode = "system" if SYSTEM else "session"
    env["LIBVIRT_DEFAULT_URI"] = f"qemu+unix:///{mode}?socket={host.address(daemon)}"
    if build.startswith("stock"):
        env["LIBVIRT_STOCK_URI"] = env["LIBVIRT_DEFAULT_URI"]

    if env.get("QEMU"):
        chosen = subprocess.run([ROOT / "tools/qemu.sh", env["QEMU"]], stdout=subprocess.PIPE, text=True, check=False)
        if chosen.returncode:
            _die(f"there is no QEMU={env['QEMU']}")
        for emulator in chosen.stdout.split():
            env[_variable(emulator)] = emulator
    for arch in BOOTED:
        emulator = find(arch).emulator
        env.setdefault(_variable(emulator), f"/usr/bin/{emulator}")
    return env


def prepare(host: Host, daemon: str, build: str) -> dict[str, str]:
    """Have ``daemon`` (virtqemud or libvirtd) of one of BUILDS up; return a command's environment.

    Exits with a message if that cannot be.
    """
    check_paths()
    if not (BUILD / "venv/libvirt-api").exists():
        _die("there is no finished build: run 'make build'")
    if not os.access(BUILD, os.W_OK):
        _die(
            f"{BUILD} belongs to {BUILD.owner()}: run this as {BUILD.owner()}, or in a clone of your own "
            f"(git clone {ROOT} somewhere && cd somewhere && make build)"
        )
    stock, _, kind = build.partition("-")
    command: list[str | Path] = [ROOT / "tools/stock.sh", *filter(None, [kind])]
    if stock == "stock" and subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        _die("stock libvirt cannot be built: see above")
    env = _environment(host, daemon, build)
    _hold(host, daemon, build)
    return env


_KIND = ["--daemon=libvirtd"] if "/libvirt-sock" in os.environ.get("LIBVIRT_DEFAULT_URI", "") else []
"""The option of ./run for the kind of daemon that we were started with."""


def pid(conn: libvirt.virConnect) -> int:
    """Return the process ID of the daemon behind a connection, by its socket."""
    path = parse_qs(urlsplit(conn.getURI()).query)["socket"][0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(path)
        return _peer(peer)


def resident(process: int) -> int:
    """Return the resident set of a process in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def end(conn: libvirt.virConnect, how: signal.Signals = signal.SIGTERM) -> None:
    """End the daemon behind a connection, and only that one; guests run on."""
    process = pid(conn)
    victim = os.pidfd_open(process)
    name = Path(os.readlink(f"/proc/{process}/exe")).name
    signal.pidfd_send_signal(victim, how)
    assert not _not_ended({victim: name}), f"the daemon goes on in spite of {how.name}"
    os.close(victim)


@contextmanager
def held(*options: str) -> Iterator[str]:
    """Have the daemons of ./run OPTIONS up, and return their URI; ./run lets idle ones end later.

    They are of the kind that the tests run on: virtqemud with its companions, or libvirtd.
    """
    command: list[str | Path] = [ROOT / "run", *_KIND, *options, "sh", "-c", 'echo "$LIBVIRT_DEFAULT_URI"; cat']
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        uri = holder.stdout.readline().strip()
        assert uri, f"{' '.join(map(str, command))} failed"
        yield uri
        holder.communicate(timeout=_LIMIT)
