//! An output that takes lines: a file, or a pipe or terminal such as standard output.
//!
//! It never waits for room, since a thread that waits for a log serves nobody: what can't be written is lost, and
//! how many lines that was is told to the caller. Lines stay whole: one that was torn is ended before the next.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use crate::os::writable;

/// Where lines go.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// Whether a write could wait for a reader.
    waits: bool,
    /// Whether the last line lacks its end. The lock also keeps lines of several threads apart.
    torn: Mutex<bool>,
}

impl Output {
    /// An output that is open.
    pub fn of(file: File) -> Self {
        let regular = file.metadata().is_ok_and(|meta| meta.is_file());
        Self { file, waits: !regular, torn: Mutex::new(false) }
    }

    /// Standard output.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::of(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// Standard error.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn stderr() -> io::Result<Self> {
        Ok(Self::of(io::stderr().as_fd().try_clone_to_owned()?.into()))
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// How many of them are lost, at least in part.
    pub fn write(&self, lines: &[u8]) -> Result<(), u64> {
        // What the lock guards is a flag: it can't be half-written by a thread that panicked.
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.waits {
            return append(&mut &self.file, lines, &mut torn);
        }
        append(&mut IfReady(&self.file), lines, &mut torn)
    }
}

/// Writes what is taken without waiting.
struct IfReady<'a>(&'a File);

impl Write for IfReady<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !writable::now(self.0.as_fd()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.write(&bytes[..bytes.len().min(writable::WHOLE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(out: &mut dyn Write, lines: &[u8], torn: &mut bool) -> Result<(), u64> {
    let lost = |left: &[u8]| memchr::memchr_iter(b'\n', left).count() as u64;
    if *torn && out.write_all(b"\n").is_err() {
        return Err(lost(lines));
    }
    *torn = false;
    let mut left = lines;
    while !left.is_empty() {
        match out.write(left) {
            Ok(n) if n > 0 => left = &left[n.min(left.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                *torn = lines[..lines.len() - left.len()].last().is_some_and(|last| *last != b'\n');
                return Err(lost(left));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Takes so many bytes, then says that the disk is full.
    struct Disk {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.text.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_next_one_is_whole() {
        for (room, lost, text) in [
            (0, 3, "dd\n"),
            (3, 2, "aa\ndd\n"),
            (4, 2, "aa\nb\ndd\n"),
            (8, 1, "aa\nbb\ncc\ndd\n"),
            (9, 0, "aa\nbb\ncc\ndd\n"),
        ] {
            let (mut disk, mut torn) = (Disk { room, text: Vec::new() }, false);
            assert_eq!(append(&mut disk, b"aa\nbb\ncc\n", &mut torn).err().unwrap_or(0), lost, "room {room}");
            if lost > 0 {
                assert_eq!(append(&mut disk, b"xx\n", &mut torn), Err(1));
            }
            disk.room = 100;
            append(&mut disk, b"dd\n", &mut torn).unwrap();
            assert_eq!(String::from_utf8(disk.text).unwrap(), text);
        }
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::of(File::from(std::os::fd::OwnedFd::from(writer)));
        let lines = "0123456789abcde\n".repeat(512);
        let mut lost = 0;
        for _ in 0..100 {
            lost += output.write(lines.as_bytes()).err().unwrap_or(0);
        }
        assert!(lost > 0 && lost < 100 * 512);
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count() as u64, 100 * 512 - lost);
    }
}
