//! OpenBSD's own WireGuard, asked by ioctl(2). It knows nothing of what the bytes mean.

#![expect(unsafe_code, reason = "ioctl(2) has no safe form")]

use std::ffi::c_char;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// `_IOWR('i', 211, struct wg_data_io)`: read an interface with its peers.
const SIOCGWG: libc::c_ulong = 0xc020_69d3;
/// `_IOWR('i', 210, struct wg_data_io)`: change it.
const SIOCSWG: libc::c_ulong = 0xc020_69d2;
/// Between two readings peers may have been added; more than this is told as an error.
const TURNS: usize = 8;

/// `struct wg_data_io`.
#[repr(C)]
struct Data {
    name: [c_char; libc::IFNAMSIZ],
    size: usize,
    interface: *mut u64,
}

const _: () = assert!(size_of::<Data>() == 32);

/// What SIOCGWG writes of `interface`: at most `most` bytes.
///
/// # Errors
/// The system's; `InvalidData` when there is more to write.
pub fn get(interface: &str, most: usize) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // Numbers in it are of eight bytes: so is what it is made of.
    let mut room: Vec<u64> = Vec::new();
    for _ in 0..TURNS {
        let given = room.len() * 8;
        let needed = call(&socket, SIOCGWG, interface, &mut room)?;
        if needed <= given {
            let bytes = room.iter().flat_map(|word| word.to_ne_bytes());
            return Ok(bytes.take(needed).collect());
        }
        if needed > most {
            break;
        }
        room = vec![0; needed.div_ceil(8)];
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Has SIOCSWG read `bytes`.
///
/// # Errors
/// The system's.
pub fn set(interface: &str, bytes: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    let mut room: Vec<u64> = bytes.chunks(8).map(word).collect();
    call(&socket, SIOCSWG, interface, &mut room).map(drop)
}

/// One call on all of `room`; the size that it says.
fn call(socket: &Socket, request: libc::c_ulong, interface: &str, room: &mut [u64]) -> io::Result<usize> {
    let mut data = Data { name: [0; libc::IFNAMSIZ], size: size_of_val(room), interface: room.as_mut_ptr() };
    // The last byte stays a zero.
    if interface.len() >= data.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in data.name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: both requests read and write one `wg_data_io`, which `data` is laid out as and which lives for the call,
    // and at most `size` bytes at `interface`, which is the length of `room` and stays borrowed for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(data.size) }
}
