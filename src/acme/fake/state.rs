//! The fake CA's books: what was asked, and what is answered where nothing goes wrong.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use http::Response;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PublicKeyData};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::acme::fake::{Answer, Body, Fault};
use crate::tls::challenges::Challenges;

/// What is signed.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::acme) enum Signs {
    WhatIsAsked,
    AnotherKey,
    OneNameLess,
    Expired,
}

/// What it does, and what it saw.
pub(in crate::acme) struct State {
    issuer: CertifiedIssuer<'static, KeyPair>,
    base: String,
    /// Faults by place: each is used up in turn.
    pub(in crate::acme) faults: Vec<(&'static str, Fault)>,
    /// Every request: its place and its payload.
    pub(in crate::acme) log: Vec<(String, Value)>,
    pub(in crate::acme) meta: Value,
    pub(in crate::acme) ari: Option<Value>,
    pub(in crate::acme) ari_retry_after: &'static str,
    /// Why names fail.
    pub(in crate::acme) verdicts: BTreeMap<String, (&'static str, &'static str)>,
    /// Which challenges there are.
    pub(in crate::acme) kinds: Vec<&'static str>,
    /// So many more than names.
    pub(in crate::acme) more_proofs: usize,
    /// Looks until a validation is decided, and until an order is signed.
    pub(in crate::acme) slow: usize,
    pub(in crate::acme) processing: usize,
    pub(in crate::acme) signs: Signs,
    /// Where the offers are seen.
    pub(in crate::acme) challenges: Option<Challenges>,
    pub(in crate::acme) connections: usize,
    nonces: HashSet<String>,
    pub(in crate::acme) accounts: Vec<Value>,
    pub(in crate::acme) orders: Vec<Order>,
    count: usize,
}

pub(in crate::acme) struct Order {
    identifiers: Vec<Value>,
    authorizations: Vec<Authorization>,
    pub(in crate::acme) status: &'static str,
    replaces: Value,
    looks: usize,
    chain: String,
}

struct Authorization {
    status: &'static str,
    tried: Option<&'static str>,
    looks: usize,
}

fn told(status: u16, headers: &[(&str, &str)], body: String) -> Answer {
    let set = headers.iter().filter(|(_, value)| !value.is_empty());
    let builder =
        set.fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    builder.body(Body::from(body)).unwrap()
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let body = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
    told(status, &[], body.to_string())
}

impl State {
    pub(super) fn new(issuer: CertifiedIssuer<'static, KeyPair>, base: String) -> Self {
        Self {
            issuer,
            base,
            faults: Vec::new(),
            log: Vec::new(),
            meta: json!({}),
            ari: None,
            ari_retry_after: "",
            verdicts: BTreeMap::new(),
            kinds: vec!["dns-01", "http-01", "tls-alpn-01"],
            more_proofs: 0,
            slow: 0,
            processing: 0,
            signs: Signs::WhatIsAsked,
            challenges: None,
            connections: 0,
            nonces: HashSet::new(),
            accounts: Vec::new(),
            orders: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn nonce(&mut self) -> String {
        self.count += 1;
        let nonce = format!("nonce-{}", self.count);
        self.nonces.insert(nonce.clone());
        nonce
    }

    pub(super) fn reply(&mut self, place: &str, path: &str, body: &[u8], fault: Option<&Fault>) -> Answer {
        let decoded = |jws: &Value, part: &str| {
            let text = BASE64.decode(jws[part].as_str().unwrap_or_default()).unwrap();
            serde_json::from_slice::<Value>(&text).unwrap_or_default()
        };
        let jws: Value = serde_json::from_slice(body).unwrap_or_default();
        let (header, payload) = (decoded(&jws, "protected"), decoded(&jws, "payload"));
        self.log.push((place.to_owned(), payload.clone()));
        match fault {
            Some(Fault::Problem(status, kind, retry_after)) => {
                let mut reply = problem(*status, kind, "as you wish");
                if !retry_after.is_empty() {
                    reply.headers_mut().insert("retry-after", retry_after.parse().unwrap());
                }
                return reply;
            }
            Some(Fault::Told(status, told_so)) => return told(*status, &[], told_so.to_string()),
            Some(Fault::Page(status, retry_after)) => {
                let headers = [("content-type", "text/html; charset=utf-8"), ("retry-after", *retry_after)];
                return told(*status, &headers, "<html>back soon</html>".into());
            }
            _ => {}
        }
        if !header.is_null() {
            assert_eq!(header["url"], format!("{}{path}", self.base));
            if !self.nonces.remove(header["nonce"].as_str().unwrap()) {
                return problem(400, "badNonce", "stale");
            }
            assert!(place == "account" || header["kid"].as_str().is_some_and(|kid| kid.contains("/me/")));
        }
        let numbers: Vec<usize> = path.split('/').skip(2).filter_map(|part| part.parse().ok()).collect();
        match (place, numbers.as_slice()) {
            ("directory", _) => self.directory(),
            ("nonce", _) => told(200, &[], String::new()),
            ("account", _) => self.account(&header["jwk"], &payload),
            ("me", _) => told(200, &[], json!({ "status": "valid" }).to_string()),
            ("new", _) => self.new_order(&payload),
            ("order", &[order]) => self.order(order),
            ("proof", &[order, name]) => self.authorization(order, name),
            ("challenge", &[order, name]) => self.challenge(order, name, path.rsplit('/').next().unwrap()),
            ("finalize", &[order]) => self.finalize(order, &payload),
            ("chain", &[order]) => told(200, &[], self.orders[order].chain.clone()),
            ("ari", _) => {
                let window = self.ari.clone().unwrap_or_default();
                told(200, &[("retry-after", self.ari_retry_after)], window.to_string())
            }
            ("revoke", _) => told(200, &[], String::new()),
            _ => problem(404, "malformed", "no such thing"),
        }
    }

    fn directory(&self) -> Answer {
        let url = |place: &str| format!("{}/{place}", self.base);
        let mut directory = json!({ "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("new"),
            "revokeCert": url("revoke"), "meta": self.meta });
        if self.ari.is_some() {
            directory["renewalInfo"] = json!(url("ari"));
        }
        told(200, &[], directory.to_string())
    }

    fn account(&mut self, jwk: &Value, payload: &Value) -> Answer {
        let known = self.accounts.iter().position(|account| account == jwk);
        let (status, number) = match known {
            Some(number) => (200, number),
            None if payload["onlyReturnExisting"] == true => {
                return problem(400, "accountDoesNotExist", "unknown");
            }
            None if self.meta["externalAccountRequired"] == true
                && payload["externalAccountBinding"].is_null() =>
            {
                return problem(403, "externalAccountRequired", "who are you?");
            }
            None => {
                self.accounts.push(jwk.clone());
                (201, self.accounts.len() - 1)
            }
        };
        told(status, &[("location", &format!("{}/me/{number}", self.base))], r#"{"status":"valid"}"#.into())
    }

    fn new_order(&mut self, payload: &Value) -> Answer {
        let identifiers = payload["identifiers"].as_array().unwrap().clone();
        let open = |_: &Value| Authorization { status: "pending", tried: None, looks: 0 };
        let authorizations = identifiers.iter().map(open).collect();
        let replaces = payload["replaces"].clone();
        self.orders.push(Order {
            identifiers,
            authorizations,
            status: "pending",
            replaces,
            looks: 0,
            chain: String::new(),
        });
        let number = self.orders.len() - 1;
        let mut reply = self.order(number);
        reply.headers_mut().insert("location", format!("{}/order/{number}", self.base).parse().unwrap());
        reply
    }

    fn order(&mut self, number: usize) -> Answer {
        let Some(order) = self.orders.get_mut(number) else {
            return problem(404, "malformed", "no such order");
        };
        if order.status == "processing" {
            order.looks += 1;
            if order.looks > self.processing {
                order.status = "valid";
            }
        }
        let url = |place: &str| format!("{}/{place}/{number}", self.base);
        let proofs: Vec<_> = (0..order.identifiers.len() + self.more_proofs)
            .map(|name| format!("{}/{name}", url("proof")))
            .collect();
        let mut body = json!({ "status": order.status, "identifiers": order.identifiers, "authorizations": proofs,
            "finalize": url("finalize"), "replaces": order.replaces });
        if order.status == "valid" {
            body["certificate"] = json!(url("chain"));
        }
        let retry_after = if order.status == "processing" { "2" } else { "" };
        told(200, &[("retry-after", retry_after)], body.to_string())
    }

    fn authorization(&mut self, number: usize, name: usize) -> Answer {
        let order = &mut self.orders[number];
        let host = order.identifiers[name]["value"].as_str().unwrap().to_owned();
        let verdict = self.verdicts.get(&host);
        let proof = &mut order.authorizations[name];
        if proof.status == "pending" && proof.tried.is_some() {
            proof.looks += 1;
            if proof.looks > self.slow {
                proof.status = if verdict.is_some() { "invalid" } else { "valid" };
            }
        }
        let (status, tried) = (proof.status, proof.tried);
        if status == "invalid" {
            order.status = "invalid";
        } else if order.status == "pending"
            && order.authorizations.iter().all(|proof| proof.status == "valid")
        {
            order.status = "ready";
        }
        let challenges = self.kinds.iter().map(|kind| {
            let mut challenge = json!({ "type": kind, "url": format!("{}/challenge/{number}/{name}/{kind}", self.base),
                "token": format!("token-{number}-{name}"), "status": "pending" });
            if tried == Some(*kind) {
                challenge["status"] = json!(status);
                if let Some((kind, detail)) = verdict.filter(|_| status == "invalid") {
                    challenge["error"] = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
                }
            }
            challenge
        });
        let body = json!({ "status": status, "identifier": self.orders[number].identifiers[name],
            "challenges": challenges.collect::<Vec<_>>() });
        told(200, &[], body.to_string())
    }

    fn challenge(&mut self, number: usize, name: usize, kind: &str) -> Answer {
        let kind = self.kinds.iter().find(|other| **other == kind).unwrap();
        let host = self.orders[number].identifiers[name]["value"].as_str().unwrap();
        let token = format!("token-{number}-{name}");
        if let Some(challenges) = &self.challenges {
            let document = challenges.document(&token).filter(|text| text.starts_with(&format!("{token}.")));
            let offered =
                if *kind == "http-01" { document.is_some() } else { challenges.handshake(host).is_some() };
            assert!(offered, "nothing is offered for {host} by {kind}");
        }
        self.orders[number].authorizations[name].tried = Some(kind);
        told(
            200,
            &[],
            json!({ "type": kind, "url": "https://x/", "token": token, "status": "processing" }).to_string(),
        )
    }

    fn finalize(&mut self, number: usize, payload: &Value) -> Answer {
        if self.orders[number].status != "ready" {
            return problem(403, "orderNotReady", "not so fast");
        }
        let request = BASE64.decode(payload["csr"].as_str().unwrap()).unwrap();
        self.orders[number].chain = self.signed(&request);
        self.orders[number].status = "processing";
        self.order(number)
    }

    fn signed(&self, request: &[u8]) -> String {
        let (_, request) = X509CertificationRequest::from_der(request).unwrap();
        let names = request.requested_extensions().unwrap().find_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                Some(names.general_names.iter().map(text).collect())
            }
            _ => None,
        });
        let mut names: Vec<String> = names.unwrap();
        if self.signs == Signs::OneNameLess {
            names.pop();
        }
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        if self.signs == Signs::Expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = &request.certification_request_info.subject_pki.subject_public_key.data;
        let leaf = match self.signs {
            Signs::AnotherKey => params.signed_by(&KeyPair::generate().unwrap(), &self.issuer),
            _ => params.signed_by(&Asked(key.to_vec()), &self.issuer),
        };
        leaf.unwrap().pem() + &self.issuer.pem()
    }
}

fn text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        other => panic!("nobody asked for {other}"),
    }
}

/// The P-256 key of a request.
struct Asked(Vec<u8>);

impl PublicKeyData for Asked {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
