//! Reads the files that orders need, as a start will: the roots of CAs and the keys of accounts there.
//!
//! No CA is asked.

use crate::acme::client::Client;
use crate::acme::jws;
use crate::config::model::acme::{Acme, Authority};
use crate::provision::Provision;

/// Something that is wrong with an authority's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which of the authorities.
    pub(super) authority: usize,
    /// What, with the cure.
    pub(super) what: String,
    /// Whether porchd refuses to start with it. Without, it starts and gets no certificate there.
    pub(super) refused: bool,
}

/// What is wrong with the files of all authorities.
pub(super) fn faults(acme: &Acme, provision: &mut dyn Provision) -> Vec<Fault> {
    let of = |(index, authority)| {
        of_authority(authority, provision).map(move |(refused, what)| Fault {
            authority: index,
            what,
            refused,
        })
    };
    acme.authorities.iter().enumerate().flat_map(of).collect()
}

fn of_authority(
    authority: &Authority,
    provision: &mut dyn Provision,
) -> impl Iterator<Item = (bool, String)> + use<> {
    let mut found = Vec::new();
    match authority.ca_file.as_deref().map(|path| provision.public_file(path)) {
        None => {}
        Some(Err(error)) => found.push((true, error.to_string())),
        Some(Ok(pem)) => {
            found.extend(Client::new(&authority.name, Some(&pem)).err().map(|failure| (false, failure.text)));
        }
    }
    if let Some(account) = &authority.external_account {
        let path = &account.key_file;
        match provision.secret_file(path) {
            Err(error) => found.push((true, error.to_string())),
            Ok(key) if jws::secret(&key).is_none() => {
                found.push((false, format!("{}: not base64url; copy it again from the CA", path.display())));
            }
            Ok(_) => {}
        }
    }
    found.extend(provision.warnings().iter().map(|warning| (false, warning.to_string())));
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::config;
    use crate::provision::in_process::InProcess;

    #[test]
    fn files_are_read_as_a_start_reads_them() {
        let folder = std::env::temp_dir().join(format!("porchd-orders-{:x}", crate::clock::random()));
        fs::create_dir(&folder).unwrap();
        let text = format!(
            "matrix: {{ server_name: example.com, home: 10.77.0.2:8008 }}\n\
             acme:\n  contact: a@example.com\n  directory: https://one.example/d\n  ca_file: {0}/roots.pem\n\
             \x20 fallback:\n    - directory: https://two.example/d\n      external_account:\n\
             \x20       {{ key_id: id, key_file: {0}/key }}\n",
            folder.display()
        );
        let acme = config::load(&text, "porchd.yaml").unwrap().config.acme.unwrap();
        let look = || faults(&acme, &mut InProcess::new(PathBuf::new()));
        let told = |expected: &[(usize, &str, bool)]| {
            let found = look();
            let fits = |(fault, expected): (&Fault, &(usize, &str, bool))| {
                let has = fault.what.contains(expected.1);
                has && (fault.authority, fault.refused) == (expected.0, expected.2)
            };
            assert!(found.len() == expected.len() && found.iter().zip(expected).all(fits), "{found:?}");
        };
        told(&[(0, "roots.pem: no such file", true), (1, "key: no such file", true)]);
        fs::write(folder.join("roots.pem"), "no certificate").unwrap();
        fs::write(folder.join("key"), "no key!").unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o604)).unwrap();
        told(&[
            (0, "`ca_file` of one.example", false),
            (1, "not base64url", false),
            (1, "open to every user", false),
        ]);
        let root = rcgen::generate_simple_self_signed(["one.example".to_owned()]).unwrap().cert.pem();
        fs::write(folder.join("roots.pem"), root).unwrap();
        fs::write(folder.join("key"), "c2VjcmV0\n").unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        told(&[]);
        fs::remove_dir_all(folder).unwrap();
    }
}
