"""What a hostile command tries where nothing isolates it, and what holds there all the same.

Each program prints ESCAPED when it got through, and held when it did not. `{outside}` is a folder of the
worker's, `{mark}` marks what is started.

What does not hold without isolation, as the command is the same user in the same system: files, processes,
sockets and the network of the worker are in reach; it may write where the worker may, and that stays; its
files have a limit each and none together; as root it may leave its control group, and where no group counts,
the number of its processes is the user's. Who kills the supervisor, leaves the group or has none, and hides
home and folder too, lives on.
"""

_HELD = """
import os, resource, signal, socket, sys, time
try:
    {what}
    print("ESCAPED")
except (OSError, ValueError, MemoryError) as error:
    print("held", error)
"""


def _asks(escaped: str) -> str:
    return f"import os; print('ESCAPED' if {escaped} else 'held')"


def _holds(what: str) -> str:
    return _HELD.format(what=what)


# Its parent runs all attacks; that one's parent is the supervisor.
_SUPERVISOR = """
import os
supervisor = open(f"/proc/{{os.getppid()}}/stat").read().rpartition(")")[2].split()[1]
"""
SEES = {
    "variables of the worker": """
import os
left = set(os.environ) - {{"PATH", "HOME", "LC_CTYPE", "TMPDIR"}}
print("ESCAPED" if left else "held", left)
""",
    "a variable that it was not given": _asks("'WORKERS_OWN' in os.environ"),
    "its supervisor's variables": _SUPERVISOR
    + """
try:
    said = open(f"/proc/{{supervisor}}/environ", "rb").read()
    print("ESCAPED" if b"WORKERS_OWN" in said else "held", said)
except OSError as error:
    print("held", error)
""",
    "its supervisor's words": _SUPERVISOR
    + """
said = open(f"/proc/{{supervisor}}/cmdline", "rb").read()
print("ESCAPED" if b"s3cret" in said or b"inside.py" not in said else "held", said)
""",
    "its supervisor's order": _SUPERVISOR
    + """
found = []
try:
    for name in os.listdir(f"/proc/{{supervisor}}/fd"):
        found.append(os.readlink(f"/proc/{{supervisor}}/fd/{{name}}"))
except OSError as error:
    print(error)
print("ESCAPED" if any("upgradepath" in each for each in found) else "held", found)
""",
    "descriptors of the worker": """
import os
found = []
for descriptor in range(3, 512):
    try:
        found.append(os.fstat(descriptor))
    except OSError:
        pass
print("ESCAPED" if found else "held", found)
""",
    "what the worker is told": "import sys; print('ESCAPED' if sys.stdin.read() else 'held')",
    "the operator's terminal": _holds("os.open('/dev/tty', os.O_RDWR)"),
    "type for the operator": _holds(
        "__import__('fcntl').ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x')"
    ),
    "the worker's session": _asks("os.getsid(0) == {session}"),
    "the worker's process group": _asks("os.getpgid(0) == {session}"),
    "the worker's home": _asks("os.environ['HOME'] == {home!r}"),
    "a home with something in it": _asks("os.listdir(os.environ['HOME'])"),
    "a scratch folder of others": _asks("os.listdir(os.environ['TMPDIR'])"),
    "a folder that others may enter": """
import os
mode = os.stat(os.path.dirname(os.environ["HOME"])).st_mode
print("ESCAPED" if mode & 0o077 else "held", oct(mode))
""",
    "the checkout itself": _asks("os.getcwd() == {checkout!r}"),
}
"""What it is shown."""

USES = {
    "a file that is too large": _holds(
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.truncate(os.open('big', os.O_CREAT | 2), 40 << 20)"
    ),
    "more files than it may open": _holds("kept = [os.dup(1) for _ in range(5000)]"),
    "a larger file by a new limit": _holds("resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))"),
    "more memory by a new limit": _holds("resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))"),
    "more processes by a new limit": _holds("resource.setrlimit(resource.RLIMIT_NPROC, (1 << 20, 1 << 20))"),
    "more CPU time by a new limit": _holds("resource.setrlimit(resource.RLIMIT_CPU, (9999, 9999))"),
    "the memory of a core": _holds("resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))"),
    "an endless reservation": _holds("bytearray(8 << 30)"),
    "the worker's priority": "import os; print('held' if os.nice(0) > {nice} else 'ESCAPED', os.nice(0))",
    "rights by a program of root's": """
status = open("/proc/self/status").read()
print("held" if "NoNewPrivs:\\t1" in status else "ESCAPED", status)
""",
    "a file that nobody can remove": """
import fcntl, os
file = os.open("kept", os.O_CREAT | os.O_RDWR)
try:
    fcntl.ioctl(file, 0x40086602, (0x10).to_bytes(8, "little"))
    print("ESCAPED")
except OSError as error:
    print("held", error)
""",
    "a mount that nobody can remove": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("mounted")
result = libc.mount(b"none", b"mounted", b"tmpfs", 0, None)
print("held" if result else "ESCAPED", os.strerror(ctypes.get_errno()))
""",
    "a namespace to hide in": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
result = libc.unshare(0x20000000)
print("held" if result else "ESCAPED", os.strerror(ctypes.get_errno()))
""",
    "a module of the kernel": """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
result = libc.syscall(175 if platform.machine() == "x86_64" else 105, b"x", 1, b"")
print("held" if result else "ESCAPED", os.strerror(ctypes.get_errno()))
""",
    "the kernel's clock": _holds("time.clock_settime(time.CLOCK_REALTIME, time.time())"),
    "a device of one's own": _holds("os.mknod('disk', 0o600 | 0o060000, os.makedev(254, 0))"),
    "packets of the device": _holds("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"),
}
"""What it uses."""

_DAEMON = """
import os, signal, sys, time
{before}
if os.fork() == 0:
    {inside}
    {then}
    time.sleep(600)
    os._exit(0)
{after}
print("held")
"""


def _stays(*, before: str = "", inside: str = "os.setsid()", after: str = "") -> str:
    """Starts something that would stay; it is found by the mark in its words."""
    words = "os.execv(sys.executable, [sys.executable, '-S', '-c', 'import time; time.sleep(600)', {mark!r}])"
    return _DAEMON.format(before=before, inside=inside, then=words, after=after)


_GONE = "[os.close(each) for each in range(3)]"
STAYS = {
    "a child": _stays(inside="pass"),
    "a child in a session of its own": _stays(),
    "a grandchild whose parent has ended": _stays(inside="os.fork() and os._exit(0); os.setsid()"),
    "one in another group": _stays(inside="os.setpgid(0, 0)"),
    "one in another folder": _stays(inside="os.setsid(); os.chdir('/')"),
    "one with another home": _stays(inside="os.setsid(); os.chdir('/'); os.environ['HOME'] = '/'"),
    "one without variables": _stays(inside="os.setsid(); os.chdir('/'); os.environ.clear()"),
    "one that ignores signals": _stays(
        inside="[signal.signal(each, signal.SIG_IGN) for each in (1, 2, 3, 15)]; os.setsid()"
    ),
    "one that has stopped": _stays(inside="os.fork() or (os.setsid(), os.kill(os.getpid(), 19))"),
    "one that holds what is printed open": _stays(inside="os.setsid(); os.set_inheritable(1, True)"),
    "one that closed everything": _stays(inside=f"os.setsid(); {_GONE}"),
    "one whose folder is gone": _stays(
        inside="os.setsid(); os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    ),
    "many, each the child of the last": _stays(
        inside="[os.fork() and os._exit(0) for _ in range(20)]; os.setsid()"
    ),
    "one that starts another when it is found": _stays(
        inside="os.fork() or [os.fork() and (time.sleep(0.02), os._exit(0)) for _ in range(12)]; os.setsid()"
    ),
}
"""What it leaves running."""

KILLS_ITS_SUPERVISOR = _stays(after="os.kill(os.getppid(), 9); time.sleep(600)")

OUTLASTS = {
    "sleeps": "import time; time.sleep(600)",
    "ignores signals": """
import signal, time
[signal.signal(each, signal.SIG_IGN) for each in (1, 2, 3, 15)]
while True: time.sleep(1)
""",
    "stops itself": "import os; os.kill(os.getpid(), 19)",
    "stops its supervisor": "import os, time; os.kill(os.getppid(), 19); time.sleep(600)",
    "stops its whole group": "import os; os.killpg(0, 19)",
}
"""How it runs longer than it may."""

LEAVES = {
    "locked folders": "os.makedirs('locked/inside'); os.chmod('locked/inside', 0); os.chmod('locked', 0)",
    "a deep tree": "[(os.mkdir('d' * 40), os.chdir('d' * 40)) for _ in range(150)]",
    "a link to what is the worker's": "os.symlink({outside!r}, 'link')",
    "a link to itself": "os.symlink('loop', 'loop')",
    "a pipe that nobody reads": "os.mkfifo('pipe')",
    "a socket": "socket.socket(socket.AF_UNIX).bind('s')",
    "names of any bytes": "open(b'\\xff\\n*', 'w'); os.mkdir(b'-rf')",
    "many files": "[open(f'n{{n}}', 'w') for n in range(500)]",
    "a link for its home": "home = os.environ['HOME']; os.rmdir(home); os.symlink({outside!r}, home)",
    "its folder moved away": "os.rename(os.getcwd(), os.getcwd() + '2')",
    "a link for its folder": "cwd = os.getcwd(); os.rename(cwd, cwd + '2'); os.symlink({outside!r}, cwd)",
}
"""What it leaves in its folders."""
