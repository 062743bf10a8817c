//! Any bytes as a certificate, a chain, a key or a certificate's file: no panic, and what is understood is understood
//! again when it is written anew.

#![no_main]

use std::sync::Arc;

use house::acme::moment::Moment;
use house::acme::{jws, vault, verify};
use house::tls::inspect::{self, Facts};
use house::tls::pem;
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;

const KEY: &str = include_str!("../key.pem");

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => certificate(bytes),
        1 => texts(bytes),
        2 => file(bytes),
        _ => secret(bytes),
    }
});

fn certificate(der: &[u8]) {
    let chain = [CertificateDer::from(der)];
    let Ok(facts) = inspect::facts_of(&chain) else { return };
    assert!(inspect::public_key(&chain[0]).is_some());
    covers_its_names(&facts);
    let _ = Moment::of(facts.not_before).to_string();
}

fn covers_its_names(facts: &Facts) {
    for name in &facts.names {
        assert!(facts.covers_pattern(name), "{name}");
    }
    assert!(!facts.covers(".") || facts.names.iter().any(|name| name.to_string() == "."));
}

fn texts(text: &[u8]) {
    let _ = pem::key(text);
    let Ok(chain) = pem::chain(text) else { return };
    assert!(!chain.is_empty());
    let facts = inspect::facts(text);
    assert_eq!(facts, inspect::facts_of(&chain));
    facts.iter().for_each(covers_its_names);
    let (now, names) = (Moment::of(std::time::UNIX_EPOCH), [Arc::from("a.test")]);
    if let Ok(sent) = str::from_utf8(text)
        && let Ok(kept) = verify::verify(sent, KEY, &names, now)
    {
        assert_eq!(verify::verify(&kept, KEY, &names, now), Ok(kept.clone()));
        assert_eq!(pem::chain(kept.as_bytes()), Ok(chain));
    }
}

fn file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(stored) = vault::certificate(text) else { return };
    let anew = vault::text(&stored, "a comment\n-----BEGIN CERTIFICATE-----");
    let again = vault::certificate(&anew).expect("what it wrote");
    assert!(again == stored);
}

fn secret(file: &[u8]) {
    assert!(jws::secret(file).is_none_or(|secret| !secret.is_empty() && secret.len() <= file.len()));
}
