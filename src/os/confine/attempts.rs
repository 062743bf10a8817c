//! What an intruder would try, each by itself: for the tests of the walls, which include this file.
//!
//! It is no part of the library, which would not make these calls. It judges nothing: it tells what came of each.

#![expect(unsafe_code, reason = "an intruder asks the kernel and not std")]

use std::ffi::{CStr, CString, c_void};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

// Named by its path, since this file is included.
#[path = "attempts/sockets.rs"]
mod sockets;

/// What is there to be tried on; nothing of it is among what the walls let through.
pub(crate) struct Targets {
    /// A folder that the user may write to, with a file `file`.
    pub(crate) outside: PathBuf,
    /// Where somebody accepts.
    pub(crate) port: SocketAddr,
    /// The name of an abstract unix socket on which somebody listens.
    pub(crate) socket: String,
}

/// What was tried, and what came of it. Without walls, for root, all of it succeeds.
pub(crate) type Tried = Vec<(&'static str, io::Result<()>)>;

/// Tries all of it. Whoever succeeds is left as the prey of a tracer, so it should end soon.
pub(crate) fn attempts(targets: &Targets) -> Tried {
    let mut tried = files(targets);
    tried.extend(network(targets));
    tried.extend(sockets::other_ways(targets));
    tried.extend(sockets::spoiling());
    tried.extend(programs());
    tried.extend(memory());
    tried.extend(privileges());
    tried.extend(kernel());
    // From here on a signal stops whoever succeeded.
    tried.push(("ask to be traced", ptrace(libc::PTRACE_TRACEME, 0)));
    tried
}

fn files(targets: &Targets) -> Tried {
    let outside = |name: &str| targets.outside.join(name);
    let file = outside("file");
    let mut tried = vec![
        ("open /etc/shadow", open("/etc/shadow")),
        ("open /etc/passwd", open("/etc/passwd")),
        ("list /etc", fs::read_dir("/etc").map(drop)),
        ("read a file elsewhere", fs::read(&file).map(drop)),
        ("list a folder elsewhere", fs::read_dir(&targets.outside).map(drop)),
        ("write to a file elsewhere", OpenOptions::new().append(true).open(&file).map(drop)),
        ("truncate a file elsewhere", truncate(&file)),
        ("make a file elsewhere", File::create_new(outside("new")).map(drop)),
        ("make a folder elsewhere", fs::create_dir(outside("folder"))),
        ("make a link elsewhere", fs::hard_link(&file, outside("link"))),
        ("make a symbolic link elsewhere", std::os::unix::fs::symlink(&file, outside("symlink"))),
        ("open a file elsewhere to all", fs::set_permissions(&file, Permissions::from_mode(0o666))),
        ("rename a file elsewhere", fs::rename(&file, outside("renamed"))),
    ];
    tried.push((
        "remove a file elsewhere",
        fs::remove_file(outside("renamed")).or_else(|_| fs::remove_file(file)),
    ));
    tried.push(("open /proc/1/mem", open("/proc/1/mem")));
    tried.push(("open the parent's memory", open(&format!("/proc/{}/mem", parent()))));
    tried.push(("open the parent's environment", open(&format!("/proc/{}/environ", parent()))));
    tried.push(("open a device", open("/dev/null")));
    tried
}

fn network(targets: &Targets) -> Tried {
    let abstract_socket = UnixAddr::from_abstract_name(&targets.socket);
    vec![
        ("listen on a TCP port", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("bind a UDP port", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("listen on a unix socket elsewhere", UnixListener::bind(targets.outside.join("socket")).map(drop)),
        ("connect to another TCP port", TcpStream::connect(targets.port).map(drop)),
        (
            "connect to an abstract unix socket",
            abstract_socket.and_then(|at| UnixStream::connect_addr(&at)).map(drop),
        ),
        ("a raw socket", socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        ("a packet socket", socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
        ("a netlink socket", socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)),
        ("a vsock socket", socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    ]
}

fn programs() -> Tried {
    vec![
        ("execute by posix_spawn", spawn()),
        ("execute by execve", execute()),
        ("fork", fork()),
        ("fork by clone3", fork_by_clone3()),
        // SIGURG does nothing to those who do not ask for it.
        // SAFETY: kill(2) takes two numbers.
        ("signal the parent", done(unsafe { libc::kill(parent(), libc::SIGURG) }.into())),
        ("trace the parent", ptrace(libc::PTRACE_SEIZE, parent())),
        ("read the parent's memory", read_parent()),
        ("hold the parent by pidfd", descriptor(libc::SYS_pidfd_open, &[parent().into(), 0])),
    ]
}

fn memory() -> Tried {
    let (read, write, execute) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    vec![
        ("map memory to write and execute", map(read | write | execute).map(drop)),
        ("map memory to execute", map(read | execute).map(drop)),
        ("make written memory executable", protect(read | write, read | execute)),
    ]
}

fn privileges() -> Tried {
    let zero = 0 as libc::c_long;
    vec![
        ("become root (setuid)", call(libc::SYS_setuid, &[zero])),
        ("become root (setresuid)", call(libc::SYS_setresuid, &[zero, zero, zero])),
        ("change the group", call(libc::SYS_setgid, &[zero])),
        ("leave groups", call(libc::SYS_setgroups, &[zero, zero])),
        ("another root folder", chroot()),
        ("a namespace of its own", call(libc::SYS_unshare, &[libc::CLONE_NEWUTS.into()])),
        ("mount", reached(mount(), &[libc::ENODEV])),
        ("core dumps again", call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0])),
    ]
}

fn kernel() -> Tried {
    let mut ring = [0_u8; 512];
    let ring = ring.as_mut_ptr() as libc::c_long;
    vec![
        (
            "load a kernel module",
            reached(
                call(libc::SYS_finit_module, &[-1, c"".as_ptr() as libc::c_long, 0]),
                &[libc::EBADF, libc::ENOSYS],
            ),
        ),
        (
            "load a BPF program",
            reached(call(libc::SYS_bpf, &[i32::MAX.into(), 0, 0]), &[libc::EINVAL, libc::ENOSYS]),
        ),
        (
            "count events of the machine",
            reached(call(libc::SYS_perf_event_open, &[0, 0, -1, -1, 0]), &[libc::EFAULT]),
        ),
        ("handle page faults", descriptor(libc::SYS_userfaultfd, &[libc::O_CLOEXEC.into()])),
        ("io_uring", descriptor(libc::SYS_io_uring_setup, &[1, ring])),
        ("the kernel's keys", call(libc::SYS_keyctl, &[0, -3, 1])),
        ("the kernel's log", call(libc::SYS_syslog, &[10, 0, 0])),
        ("set the clock", reached(call(libc::SYS_clock_settime, &[0, 0]), &[libc::EFAULT])),
        (
            "load another kernel",
            reached(call(libc::SYS_kexec_load, &[0, 17, 0, 0]), &[libc::EINVAL, libc::ENOSYS]),
        ),
    ]
}

fn open(path: &str) -> io::Result<()> {
    File::open(path).map(drop)
}

fn truncate(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    done(unsafe { libc::truncate(path.as_ptr(), 0) }.into())
}

fn parent() -> libc::pid_t {
    std::os::unix::process::parent_id().cast_signed()
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<()> {
    descriptor(libc::SYS_socket, &[family.into(), kind.into(), protocol.into()])
}

const TRUE: &CStr = c"/bin/true";

fn spawn() -> io::Result<()> {
    let arguments = [TRUE.as_ptr().cast_mut(), null_mut()];
    let mut child = 0;
    // SAFETY: path and arguments are NUL-terminated, the list ends in a null pointer, and all outlive the call.
    let error = unsafe {
        libc::posix_spawn(&raw mut child, TRUE.as_ptr(), null(), null(), arguments.as_ptr(), null())
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    await_child(child)
}

/// A program that does not exist: the process would not come back from one that does.
fn execute() -> io::Result<()> {
    let arguments = [TRUE.as_ptr(), null()];
    // SAFETY: path and arguments are NUL-terminated, the lists end in a null pointer, and all outlive the call.
    let result = unsafe { libc::execve(c"/none/none".as_ptr(), arguments.as_ptr(), arguments[1..].as_ptr()) };
    reached(done(result.into()), &[libc::ENOENT])
}

fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: _exit(2) runs nothing of this process.
        0 => unsafe { libc::_exit(0) },
        child => await_child(child),
    }
}

fn fork_by_clone3() -> io::Result<()> {
    // SAFETY: all of `clone_args` are integers, for which zero is a value: as of fork(2), but for the signal.
    let arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // SAFETY: the arguments outlive the call, and the child does nothing but end.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: _exit(2) runs nothing of this process.
        0 => unsafe { libc::_exit(0) },
        child => await_child(child as libc::pid_t),
    }
}

fn await_child(child: libc::pid_t) -> io::Result<()> {
    // __WALL: also one that sends no signal.
    // SAFETY: a null pointer asks for no status.
    done(unsafe { libc::waitpid(child, null_mut(), libc::__WALL) }.into())
}

fn ptrace(request: libc::c_uint, process: libc::pid_t) -> io::Result<()> {
    let nothing: *mut c_void = null_mut();
    // SAFETY: neither of the requests that are made reads its pointers.
    done(unsafe { libc::ptrace(request, process, nothing, nothing) })
}

/// The parent runs the same program, but elsewhere in memory: a page that is not there is reached too.
fn read_parent() -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: null_mut(), iov_len: 1 };
    // SAFETY: `local` names one byte that outlives the call.
    let result = unsafe { libc::process_vm_readv(parent(), &raw const local, 1, &raw const remote, 1, 0) };
    reached(done(result as libc::c_long), &[libc::EFAULT])
}

const PAGE: usize = 4096;

/// A page of its own, unmapped when dropped.
struct Page(*mut c_void);

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `map` and nothing refers to it.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

fn map(protection: libc::c_int) -> io::Result<Page> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new page at an address that the kernel chooses.
    let page = unsafe { libc::mmap(null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Page(page)) }
}

fn protect(before: libc::c_int, after: libc::c_int) -> io::Result<()> {
    let page = map(before)?;
    // SAFETY: the page is ours alone, and nothing refers to it.
    done(unsafe { libc::mprotect(page.0, PAGE, after) }.into())
}

fn chroot() -> io::Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { libc::chroot(c"/".as_ptr()) }.into())
}

/// Of a kind that no kernel has.
fn mount() -> io::Result<()> {
    let (none, kind) = (c"none".as_ptr(), c"no-such-kind".as_ptr());
    // SAFETY: all strings are NUL-terminated, and there is no data.
    done(unsafe { libc::mount(none, c"/".as_ptr(), kind, 0, null()) }.into())
}

/// A call by its number, made for what the kernel says to it.
fn call(number: libc::c_long, arguments: &[libc::c_long]) -> io::Result<()> {
    raw(number, arguments).map(drop)
}

/// A call that makes a descriptor.
fn descriptor(number: libc::c_long, arguments: &[libc::c_long]) -> io::Result<()> {
    let made = raw(number, arguments)?;
    // SAFETY: the call has just made it, and nobody else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(made as libc::c_int) });
    Ok(())
}

fn raw(number: libc::c_long, arguments: &[libc::c_long]) -> io::Result<libc::c_long> {
    let argument = |at: usize| arguments.get(at).copied().unwrap_or(0);
    // SAFETY: the callers' arguments are numbers, null pointers where the kernel refuses them, or point to what
    // outlives the call.
    let result = unsafe {
        libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5))
    };
    done(result).map(|()| result)
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An error that only whom the walls have let through gets to see is a success.
fn reached(outcome: io::Result<()>, seen: &[libc::c_int]) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error().is_some_and(|error| seen.contains(&error)) => Ok(()),
        outcome => outcome,
    }
}
