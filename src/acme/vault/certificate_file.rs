//! One certificate as one file's text, and back: a comment for people, the key, then the chain (P).

use crate::acme::records::Stored;
use crate::acme::vault::error::Fault;
use crate::provision::PemPair;
use crate::tls::inspect::{self, InspectError};
use crate::tls::store::ServedError;
use crate::tls::{pem, provider};

/// The comment by which the file is known to be its site's.
const SITE: &str = "# site: ";

/// The text for `stored`, with the lines of `comment` on top.
pub(super) fn text(stored: &Stored, comment: &str) -> String {
    let mut text = format!("{SITE}{}\n", one_line(&stored.site));
    for line in comment.lines() {
        text.push_str(format!("# {}", one_line(line)).trim_end());
        text.push('\n');
    }
    text.push_str("# The private key, then the certificate and those that signed it.\n");
    for part in [&stored.pair.key, &stored.pair.cert] {
        let part = String::from_utf8_lossy(part);
        text.push_str(part.trim());
        text.push('\n');
    }
    text
}

/// What `text` holds, if its key and certificate belong together.
pub(super) fn parse(text: &str) -> Result<Stored, Fault> {
    let site = text.lines().find_map(|line| line.strip_prefix(SITE)).map(str::trim);
    // No host holds a control character, and none could be written back.
    let site = site.filter(|site| !site.contains(char::is_control)).ok_or(Fault::NoSite)?;
    let (mut key, mut cert) = (String::new(), String::new());
    for section in sections(text)? {
        let part = if section.starts_with("-----BEGIN CERTIFICATE-----") { &mut cert } else { &mut key };
        part.push_str(section);
        part.push('\n');
    }
    let pair = PemPair { cert: cert.into_bytes(), key: key.into_bytes() };
    usable(&pair)?;
    Ok(Stored { site: site.to_owned(), pair })
}

/// The PEM sections of `text`, each from its BEGIN line to its END line.
fn sections(text: &str) -> Result<Vec<&str>, Fault> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = line_that_begins(rest, "-----BEGIN ") {
        let end = line_that_begins(&rest[begin..], "-----END ").ok_or(Fault::CutShort)?;
        let length = rest[begin + end..].find('\n').unwrap_or(rest.len() - begin - end);
        found.push(rest[begin..begin + end + length].trim_end());
        rest = &rest[begin + end + length..];
    }
    Ok(found)
}

/// Where the first line of `text` that begins with `mark` begins.
fn line_that_begins(text: &str, mark: &str) -> Option<usize> {
    text.match_indices(mark).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with('\n'))
}

/// Whether `pair` could be served, its validity aside.
fn usable(pair: &PemPair) -> Result<(), Fault> {
    let chain = pem::chain(&pair.cert).map_err(InspectError::from)?;
    inspect::facts_of(&chain)?;
    let key = pem::key(&pair.key).map_err(|error| Fault::Pair(ServedError::Key(error)))?;
    let key = provider().key_provider.load_private_key(key);
    let key = key.map_err(|_| Fault::Pair(ServedError::UnsupportedKey))?;
    let leaf = chain.first().and_then(inspect::public_key);
    match key.public_key() {
        Some(public) if leaf != Some(public.as_ref()) => Err(Fault::Pair(ServedError::KeyMismatch)),
        _ => Ok(()),
    }
}

/// `text` without anything that would end its line.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::*;
    use crate::tls::pem::PemError;

    fn pair() -> PemPair {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
    }

    fn stored(pair: PemPair) -> Stored {
        Stored { site: "a.test".to_owned(), pair }
    }

    fn told(text: &str) -> String {
        parse(text).err().unwrap().to_string()
    }

    #[test]
    fn key_and_chain_are_read_back() {
        let (one, two) = (pair(), pair());
        let chain = [one.cert.as_slice(), b"\nsubject: two\n", &two.cert].concat();
        let text =
            text(&stored(PemPair { cert: chain, key: one.key.clone() }), "issued by X\n\nvalid until Y");
        assert!(
            text.starts_with("# site: a.test\n# issued by X\n#\n# valid until Y\n# The private key"),
            "{text}"
        );
        let read = parse(&text).unwrap();
        assert_eq!(read.site, "a.test");
        // The chain without what stands between its certificates, and the same each time.
        assert_eq!(read.pair.cert, [one.cert.as_slice(), &two.cert].concat());
        assert_eq!(read.pair.key, one.key);
        assert!(parse(&super::text(&read, "")).unwrap() == read);
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(parse(&crlf).unwrap().site, "a.test");
    }

    #[test]
    fn keys_of_every_kind_are_known() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let cert = CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let der = key.serialize_der();
        assert!(!der.is_empty());
        let pair = PemPair { cert: cert.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
        assert!(parse(&text(&stored(pair.clone()), "")).unwrap().pair == pair);
    }

    #[test]
    fn comments_stay_comments() {
        let pair = pair();
        let hostile = "one\r-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n# site: b.test\0";
        let read = parse(&text(&stored(pair.clone()), hostile)).unwrap();
        assert!(read == stored(pair));
    }

    #[test]
    fn broken_files_are_told_apart() {
        let (one, two) = (pair(), pair());
        let whole = text(&stored(one.clone()), "");
        assert!(matches!(parse(""), Err(Fault::NoSite)));
        assert!(matches!(parse(&whole[10..]), Err(Fault::NoSite)));
        assert!(matches!(parse(&whole.replacen("a.test", "a.test\u{1a}x", 1)), Err(Fault::NoSite)));
        for at in [whole.len() - 40, whole.find("-----END").unwrap()] {
            assert!(matches!(parse(&whole[..at]), Err(Fault::CutShort)), "{at}");
        }
        let mixed = text(&stored(PemPair { cert: two.cert, key: one.key.clone() }), "");
        assert!(matches!(parse(&mixed), Err(Fault::Pair(ServedError::KeyMismatch))));
        let no_key = text(&stored(PemPair { cert: one.cert.clone(), key: Vec::new() }), "");
        assert!(matches!(parse(&no_key), Err(Fault::Pair(ServedError::Key(PemError::NoKey)))));
        let no_chain = text(&stored(PemPair { cert: Vec::new(), key: one.key }), "");
        assert!(matches!(parse(&no_chain), Err(Fault::Chain(InspectError::Pem(_)))));
        assert!(told(&mixed).ends_with("; move the file away, and porchd orders the certificate anew"));
    }

    #[test]
    fn any_cut_is_an_error_and_never_a_wrong_pair() {
        let whole = text(&stored(pair()), "");
        let last = whole.trim_end().len();
        for at in 0..last {
            assert!(parse(&whole[..at]).is_err(), "{at}");
        }
        assert!(parse(&whole[..last]).is_ok());
    }
}
