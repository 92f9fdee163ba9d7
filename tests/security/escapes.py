"""A hostile check's tries, each a program that prints ESCAPED when it got through, and held when it did not.

The programs know the machine as somebody who has read our source: `{secrets}` is a file of the worker's,
`{neighbour}` another Run's checkout, `{outside}` a folder that everybody may write to, `{victim}` the pid of
a process of the worker's user, `{port}` a port of the worker's loopback, `{socket}` and `{abstract}` its Unix
sockets.
"""

_READS = """
try:
    text = open({path!r}, "rb").read()
    print("ESCAPED" if text else "held")
except OSError as error:
    print("held", error)
"""
_CALLS = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
result = {call}
print("ESCAPED" if result >= 0 else "held", os.strerror(ctypes.get_errno()))
"""
_TRIES = """
import os, socket
try:
    {what}
    print("ESCAPED")
except (OSError, ValueError) as error:
    print("held", error)
"""


def _reads(path: str) -> str:
    return _READS.format(path=path)


def _calls(call: str) -> str:
    return _CALLS.format(call=call)


def _tries(what: str) -> str:
    return _TRIES.format(what=what)


def _number(x86: int, arm: int) -> str:
    return f"({x86} if platform.machine() == 'x86_64' else {arm})"


ESCAPES: dict[str, str] = {
    "the parent's environment": """
import os
try:
    seen = open(f"/proc/{{os.getppid()}}/environ", "rb").read()
    print("ESCAPED" if b"WORKERS_SECRET" in seen else "held")
except OSError as error:
    print("held", error)
""",
    "everybody's environment": """
import os
found = []
for name in filter(str.isdecimal, os.listdir("/proc")):
    try:
        found.append(open(f"/proc/{{name}}/environ", "rb").read())
    except OSError:
        pass
print("ESCAPED" if b"WORKERS_SECRET" in b"".join(found) else "held")
""",
    "everybody's command line": """
import os
found = []
for name in filter(str.isdecimal, os.listdir("/proc")):
    try:
        found.append(open(f"/proc/{{name}}/cmdline", "rb").read())
    except OSError:
        pass
print("ESCAPED" if any(b"slee" + b"p" in each for each in found) else "held", len(found))
""",
    "the worker's files by /proc": _tries("os.listdir('/proc/{victim}/root')"),
    "the first process' root": """
import os
try:
    names = os.listdir("/proc/1/root/")
    print("ESCAPED" if os.path.exists("/proc/1/root{secrets}") else "held", names)
except OSError as error:
    print("held", error)
""",
    "kill the worker": _tries("os.kill({victim}, 9)"),
    "trace the worker": _calls("libc.ptrace(16, {victim}, 0, 0)"),
    "read the worker's memory": _tries("open('/proc/{victim}/mem', 'rb').read(1)"),
    "read memory by a system call": _calls(f"libc.syscall({_number(310, 270)}, {{victim}}, 0, 0, 0, 0, 0)"),
    "the machine's passwords": _reads("/etc/shadow"),
    "the secrets' folder": _reads("{secrets}"),
    "another Run's checkout": _reads("{neighbour}/greeting.txt"),
    "write where everybody may": _tries("open('{outside}/planted', 'w').write('x')"),
    "write to the system": _tries("open('/usr/bin/planted', 'w').write('x')"),
    "write to our Python": _tries("import sys; open(sys.prefix + '/planted', 'w').write('x')"),
    "replace the launcher": _tries("open('/launcher.py', 'w').write('x')"),
    "write to the checkout's source": _tries("open('/source/planted', 'w').write('x')"),
    "a link to a secret": _tries("os.symlink('{secrets}', 'link'); open('link').read()"),
    "a hard link to a secret": _tries("os.link('{secrets}', 'link')"),
    "mount": _calls("libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)"),
    "unmount": _calls("libc.umount2(b'/proc', 2)"),
    "mount by descriptor": _calls("libc.syscall(430, b'tmpfs', 0)"),
    "a user namespace of its own": _calls("libc.unshare(0x10000000)"),
    "a user namespace by clone": _calls(
        f"libc.syscall({_number(56, 220)}, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0) or 1"
    ),
    "a user namespace by clone3": _calls(
        "libc.syscall(435, (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17), 88) or os._exit(0) or 1"
    ),
    "another's namespaces": _tries("os.open('/proc/{victim}/ns/mnt', os.O_RDONLY)"),
    "chroot": _tries("os.chroot('/tmp')"),
    "become root": _tries("os.setuid(0)"),
    "another's group": _tries("os.setgroups([0])"),
    "rights by a program of root's": """
import os
status = open("/proc/self/status").read()
rights = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapAmb"))]
new = next(line.split()[1] for line in status.splitlines() if line.startswith("NoNewPrivs"))
print("held" if new == "1" and {{int(each, 16) for each in rights}} == {{0}} else "ESCAPED", status)
""",
    "a device of one's own": _tries("os.mknod('disk', 0o600 | 0o060000, os.makedev(254, 0))"),
    "the machine's disks": """
import os, stat
found = [name for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{{name}}").st_mode)]
print("ESCAPED" if found else "held", found)
""",
    "raw packets": _tries("socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)"),
    "packets of the device": _tries("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"),
    "the hypervisor's sockets": _tries("socket.socket(40, socket.SOCK_STREAM)"),
    "the kernel's cryptography": _tries("socket.socket(38, socket.SOCK_SEQPACKET)"),
    "the worker's loopback": _tries("socket.create_connection(('127.0.0.1', {port}), 3)"),
    "the worker's loopback in IPv6": _tries("socket.create_connection(('::1', {port}), 3)"),
    "a cloud's metadata": _tries("socket.create_connection(('169.254.169.254', 80), 3)"),
    "the outside": _tries("socket.create_connection(('192.0.2.1', 443), 3)"),
    "a datagram to the outside": _tries(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))"
    ),
    "an abstract socket": _tries("socket.socket(socket.AF_UNIX).connect('\\0{abstract}')"),
    "a socket in a folder": _tries("socket.socket(socket.AF_UNIX).connect('{socket}')"),
    "the container engine": _tries("socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')"),
    "keys of the kernel": _calls(f"libc.syscall({_number(250, 219)}, 0, -3, 1)"),
    "a key of one's own": _calls(f"libc.syscall({_number(248, 217)}, b'user', b'k', b'v', 1, -3)"),
    "faults of one's own": _calls(f"libc.syscall({_number(323, 282)}, 1)"),
    "a ring of requests": _calls("libc.syscall(425, 4, (ctypes.c_char * 256)())"),
    "a program in the kernel": _calls(f"libc.syscall({_number(321, 280)}, 0, (ctypes.c_char * 128)(), 128)"),
    "the processor's counters": _calls(
        f"libc.syscall({_number(298, 241)}, (ctypes.c_char * 128)(), 0, -1, -1, 0)"
    ),
    "the kernel's log": _calls(f"libc.syscall({_number(103, 116)}, 3, (ctypes.c_char * 99)(), 99)"),
    "files by their number": _calls(f"libc.syscall({_number(304, 265)}, 0, (ctypes.c_char * 64)(), 0)"),
    "the machine's name": _tries("socket.sethostname('planted')"),
    "type for the operator": """
import fcntl, os
leader, follower = os.openpty()
try:
    fcntl.ioctl(follower, 0x5412, b"x")
    print("ESCAPED")
except OSError as error:
    print("held", error)
""",
    "the kernel's settings": _tries("open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/x')"),
    "the kernel's keyboard": _tries("open('/proc/sysrq-trigger', 'w').write('b')"),
    "more memory by its control group": """
import glob, os
files = glob.glob("/sys/fs/cgroup/**/memory*limit_in_bytes", recursive=True)
files += glob.glob("/sys/fs/cgroup/**/memory.max", recursive=True)
opened = []
for path in files:
    try:
        open(path, "w").write("-1")
        opened.append(path)
    except OSError:
        pass
print("ESCAPED" if opened else "held", opened, len(files))
""",
    "another's control group": """
import glob, os
files = glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)
seen = [line for path in files for line in open(path).read().split()]
# A process that is not in its own namespace is shown as 0.
print("ESCAPED" if "0" in seen else "held", seen)
""",
    "the first process' environment": _tries("open('/proc/1/environ', 'rb').read(1)[0]"),
    "the first process' memory": _tries("open('/proc/1/mem', 'rb').read(1)"),
    "the worker's line": _tries("socket.socket(socket.AF_UNIX).connect('/worker.socket')"),
    "the machine's settings": """
import glob
found = glob.glob("/usr/local/etc/*") + glob.glob("/usr/etc/*") + glob.glob("/etc/pki/tls/private")
print("ESCAPED" if found else "held", found)
""",
    "private keys": """
import os
found = []
for top in ("/etc", "/usr/local/share", "/usr/lib/ssl", "/var"):
    for folder, _, names in os.walk(top, followlinks=True):
        # What everybody may download is shown, wherever it lies: below /tmp too, to which /var/tmp leads.
        if "/site-packages" in folder:
            continue
        for name in names:
            try:
                if b"PRIVATE KEY-----" in open(os.path.join(folder, name), "rb").read(1 << 16):
                    found.append(os.path.join(folder, name))
            except OSError:
                pass
print("ESCAPED" if found else "held", found)
""",
    "its own control group": _tries("os.listdir('/sys/fs/cgroup')"),
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
    "variables of the worker": """
import os
print("ESCAPED" if set(os.environ) - {{"PATH", "HOME", "LC_CTYPE", "TMPDIR"}} else "held", os.environ)
""",
    "more than its limits": """
import resource
try:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
    left = [kind for kind in kinds if resource.getrlimit(kind)[1] == resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("ESCAPED", left)
except (OSError, ValueError) as error:
    print("ESCAPED" if left else "held", error)
""",
}

SHOWN_IN_A_CONTAINER = ("its own control group",)
"""A container's own is mounted read-only in it: its limits can be read there and not be changed."""

HELD_WITHOUT_ISOLATION = (
    "the parent's environment",
    "descriptors of the worker",
    "variables of the worker",
)
"""All that is kept back from a process of the worker's own user where nothing isolates it: that is why
servers refuse to run so. What ends a command is tested apart from these, and holds there too."""
