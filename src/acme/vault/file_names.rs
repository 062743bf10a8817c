//! Names of files for sites and CAs (P): one name each, and never a way out of the folder.

use std::fmt::Write as _;

/// Longer names are cut, so that an ending fits into the 255 bytes that systems give.
const LONGEST: usize = 160;

/// How much stays of a name that is cut; the rest is told apart by a number.
const KEPT: usize = 140;

/// The name for `site`: itself where it is made of small letters, digits, `-`, `_` and inner dots, with `%XX` for every
/// other byte. Different sites have different names.
pub(super) fn of_site(site: &str) -> String {
    let mut name = String::new();
    for byte in site.bytes() {
        // A capital letter is told from a small one everywhere, even where the disk does not.
        push(&mut name, byte, byte.is_ascii_lowercase());
    }
    cut(name, site)
}

/// The name for the CA with the directory at the URL `directory`: its host, then its path with `+` for each `/`, as
/// `acme-v02.api.letsencrypt.org+directory`. Different URLs have different names.
pub(super) fn of_authority(directory: &str) -> String {
    let mut name = String::new();
    for byte in directory.strip_prefix("https://").unwrap_or(directory).bytes() {
        match byte {
            b'/' => name.push('+'),
            _ => push(&mut name, byte, byte.is_ascii_alphabetic()),
        }
    }
    cut(name, directory)
}

fn push(name: &mut String, byte: u8, letter: bool) {
    let plain = letter || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    // A file that begins with a dot is hidden, or the folder itself, or the one above.
    if plain || (byte == b'.' && !name.is_empty()) {
        name.push(char::from(byte));
    } else {
        let _ = write!(name, "%{byte:02X}");
    }
}

fn cut(mut name: String, of: &str) -> String {
    if name.len() > LONGEST {
        name.truncate(KEPT);
        // `~` is in no name that is whole.
        let _ = write!(name, "~{:016x}", fnv_1a(of.as_bytes()));
    }
    // Nothing at all would be the folder itself.
    if name.is_empty() { "%".to_owned() } else { name }
}

/// FNV-1a of 64 bits: the same on every machine and in every version, which the standard library's hash is not.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_their_own_names() {
        for (site, name) in [
            ("matrix.example.com", "matrix.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("_x.test", "_x.test"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "%5B2001%3Adb8%3A%3A1%5D"),
            ("*.example.com", "%2A.example.com"),
            ("Example.com", "%45xample.com"),
        ] {
            assert_eq!(of_site(site), name);
        }
    }

    #[test]
    fn ways_out_of_the_folder_lead_nowhere() {
        for (site, name) in [
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E."),
            ("../x", "%2E.%2Fx"),
            ("/etc/passwd", "%2Fetc%2Fpasswd"),
            ("a/b", "a%2Fb"),
            (".new-0", "%2Enew-0"),
            ("a\0b\n", "a%00b%0A"),
            ("a%2Fb", "a%252%46b"),
            ("a~b", "a%7Eb"),
        ] {
            assert_eq!(of_site(site), name);
        }
    }

    #[test]
    fn authorities_are_named_by_host_and_path() {
        for (directory, name) in [
            ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org+directory"),
            ("https://acme.zerossl.com/v2/DV90", "acme.zerossl.com+v2+DV90"),
            ("https://127.0.0.1:14000/dir", "127.0.0.1%3A14000+dir"),
            ("https://ca.test/../../x?a=b+c", "ca.test+..+..+x%3Fa%3Db%2Bc"),
            ("https:///x", "+x"),
        ] {
            assert_eq!(of_authority(directory), name);
        }
    }

    #[test]
    fn long_names_are_cut_and_still_differ() {
        let label = "a".repeat(60);
        let long = |end: &str| of_site(&format!("{label}.{label}.{label}.{label}.{end}"));
        assert!(long("test").len() < 200);
        assert_ne!(long("test"), long("tes"));
        // It must be the same in every version: the file would not be found again.
        assert_eq!(long("test"), of_site(&format!("{label}.{label}.{label}.{label}.test")));
        assert!(long("test").ends_with("~702a6134adda81c5"), "{}", long("test"));
    }

    proptest! {
        #[test]
        fn any_name_is_one_entry_and_its_own(a in ".{0,300}", b in ".{0,300}") {
            for name in [of_site(&a), of_authority(&a)] {
                prop_assert!(!name.is_empty() && name.len() <= 200);
                prop_assert!(!name.starts_with('.') && !name.contains(['/', '\0']));
            }
            prop_assert_eq!(of_site(&a) == of_site(&b), a == b);
        }
    }
}
