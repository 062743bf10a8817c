//! Words of certificates: whom a CA writes to, where it is asked, and its own names for things.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;

use crate::config::scalar::name::Host;

/// One e-mail address, as `admin@example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact(pub Arc<str>);

/// Text that is no such address.
#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    /// More than one, or an address with a name beside it.
    #[error("\"{0}\" is more than one e-mail address\nwrite one, without a name: admin@example.com")]
    Several(String),
    /// No address.
    #[error("\"{0}\" is not an e-mail address\nwrite one like admin@example.com: the CA writes there")]
    Format(String),
}

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        let owned = || text.to_owned();
        // RFC 8555 section 7.3 has contacts as URLs, and other clients ask for them so.
        let address = match text.split_at_checked("mailto:".len()) {
            Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto:") => address,
            _ => text,
        };
        if address.contains([',', ';', '<', ' ']) {
            return Err(ContactError::Several(owned()));
        }
        let (local, domain) = address.split_once('@').ok_or_else(|| ContactError::Format(owned()))?;
        let domain = domain.parse::<Host>().map_err(|_| ContactError::Format(owned()))?;
        let is_name = domain.0.contains('.') && !domain.0.starts_with('[');
        if is_local_part(local) && is_name {
            Ok(Self(format!("{local}@{domain}").into()))
        } else {
            Err(ContactError::Format(owned()))
        }
    }
}

/// What may stand before the `@`: a dot-atom (RFC 5322 section 3.2.3), without what a URL would need escaped.
fn is_local_part(text: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!$&'*+-/=^_`{|}~".contains(&byte))
    };
    text.len() <= 64 && text.split('.').all(atom)
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(Contact, "an e-mail address like `admin@example.com`", number: None,
    "examples": ["admin@example.com"]);

/// The URL of a CA's directory, https alone; scheme and host in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl(pub Arc<str>);

/// Text that is no such URL.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryUrlError {
    /// RFC 8555 section 6.1: ACME is https alone.
    #[error(
        "\"{0}\" is not https\nACME is spoken over https alone; for a CA of your own name its root in `ca_file`"
    )]
    NotHttps(String),
    /// A user, a fragment, spaces: nothing that a directory's URL has.
    #[error(
        "\"{0}\" is not the URL of a CA's directory\nwrite it as the CA tells it: https://ca.example/acme/directory"
    )]
    Format(String),
}

impl FromStr for DirectoryUrl {
    type Err = DirectoryUrlError;

    fn from_str(text: &str) -> Result<Self, DirectoryUrlError> {
        let owned = || text.to_owned();
        let uri = text.parse::<Uri>().map_err(|_| DirectoryUrlError::Format(owned()))?;
        match uri.scheme_str() {
            Some("https") => {}
            Some(_) => return Err(DirectoryUrlError::NotHttps(owned())),
            None => return Err(DirectoryUrlError::Format(owned())),
        }
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        let authority = authority.filter(|authority| !authority.contains('@') && !text.contains('#'));
        let authority = authority.ok_or_else(|| DirectoryUrlError::Format(owned()))?;
        let host = uri.host().unwrap_or_default();
        // A port that is none would be passed over, and the CA asked at 443.
        let port = authority.len() == host.len() || uri.port_u16().is_some_and(|port| port != 0);
        if host.parse::<Host>().is_err() || !port {
            return Err(DirectoryUrlError::Format(owned()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self(format!("https://{authority}{path}").into()))
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(DirectoryUrl, "the https URL of a CA's directory", number: None, "pattern": "^https://",
    "examples": ["https://ca.example/acme/directory"]);

/// A CA's own name for something: a profile, a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub Arc<str>);

/// Text that is no such name.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not a name that a CA gives\nwrite it exactly as the CA tells it, on one line and without spaces"
)]
pub struct LabelError(String);

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(LabelError(text.to_owned())) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// A number is no label: YAML reads 0123 as another number than it looks.
text_scalar!(Label, "a name that the CA gives", number: None, "minLength": 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_one_address() {
        for (text, contact) in [
            ("admin@example.com", "admin@example.com"),
            ("mailto:admin@Example.COM", "admin@example.com"),
            ("MAILTO:a.b+acme@example.com", "a.b+acme@example.com"),
        ] {
            assert_eq!(text.parse::<Contact>().unwrap().to_string(), contact);
        }
        for text in [
            "",
            "admin",
            "@example.com",
            "admin@",
            "admin@localhost",
            "admin@[::1]",
            "a@b@example.com",
            "a..b@example.com",
            "a?b@example.com",
            "a@example.com, b@example.com",
            "Admin <a@example.com>",
            "mailto:",
            "https://example.com",
        ] {
            assert!(text.parse::<Contact>().is_err(), "{text}");
        }
    }

    #[test]
    fn directories_are_https() {
        for (text, url) in [
            ("https://CA.example/Dir?x=Y", "https://ca.example/Dir?x=Y"),
            ("https://127.0.0.1:14000/dir", "https://127.0.0.1:14000/dir"),
            ("https://[::1]:14000/dir", "https://[::1]:14000/dir"),
            ("https://ca.example", "https://ca.example/"),
        ] {
            assert_eq!(text.parse::<DirectoryUrl>().unwrap().to_string(), url);
        }
        for text in [
            "",
            "ca.example",
            "/dir",
            "http://ca.example/",
            "https://",
            "https://u:p@ca.example/",
            "https://ca.example/#a",
            "https://a_b!/",
            "https://ca.example:/dir",
            "https://ca.example:0/dir",
            "https://ca.example:70000/dir",
            "https://[::1]:70000/dir",
            "https://ca.example/a b",
        ] {
            assert!(text.parse::<DirectoryUrl>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "(https://)?.{0,24}", contact in ".{0,12}@?.{0,12}") {
            if let Ok(url) = text.parse::<DirectoryUrl>() {
                proptest::prop_assert_eq!(url.to_string().parse::<DirectoryUrl>().unwrap(), url);
            }
            if let Ok(contact) = contact.parse::<Contact>() {
                proptest::prop_assert_eq!(contact.to_string().parse::<Contact>().unwrap(), contact);
            }
            let _ = text.parse::<Label>().map_err(|error| error.to_string());
        }
    }
}
