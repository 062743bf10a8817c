//! Whose a folder may be, so that no stranger can exchange what porchd has in it.

#![expect(unsafe_code, reason = "geteuid(2) has no safe form in std")]

/// Who can exchange anything anyway.
/// Who may do everything.
pub const ROOT: u32 = 0;

/// The user that this process runs as.
pub fn me() -> u32 {
    // SAFETY: geteuid(2) only tells a number.
    unsafe { libc::geteuid() }
}

/// Whether `owner` is neither `me` nor root.
pub fn is_stranger(owner: u32, me: u32) -> bool {
    owner != me && owner != ROOT
}
