//! Any text as a configuration: no panic, and what is in force of an accepted one, written out, is accepted as the same.

#![no_main]

use house::config::diff::Diff;
use house::config::{control_socket, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let socket = control_socket(text);
    let loaded = match load(text, "fuzz") {
        Ok(loaded) => loaded,
        Err(report) => {
            assert!(!report.problems.is_empty() && !report.to_string().is_empty());
            return;
        }
    };
    assert_eq!(loaded.config.admin.socket.as_ref().map(|socket| &socket.path), socket.as_ref());
    loaded.warnings.iter().for_each(|warning| assert!(!warning.to_string().is_empty()));
    let again = match load(&loaded.expanded, "fuzz") {
        Ok(again) => again,
        Err(report) => panic!("{report}\n{}", loaded.expanded),
    };
    assert_eq!(again.config, loaded.config);
    let diff = Diff::between(&loaded.config, &again.config);
    assert!(diff.settings.is_empty() && diff.to_string().lines().count() <= 1, "{diff}");
});
