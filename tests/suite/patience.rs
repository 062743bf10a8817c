//! Waiting for what must happen, without sleeping and not for ever.

use std::time::Duration;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so.
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let begun = porchd::clock::now();
    while !so() {
        assert!(porchd::clock::now() - begun < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::yield_now();
    }
}
