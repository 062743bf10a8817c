//! How https is spoken to backends: one client configuration for each group.
//!
//! It reads no file: roots come as bytes.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Roots that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("it is not a file of pem certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// PEM without a certificate.
    #[error("it has no certificate")]
    Empty,
    /// A certificate that can't be a root.
    #[error("one of its certificates can't be used")]
    Certificate(#[source] rustls::Error),
    /// The provider lacks what TLS 1.2 and 1.3 need.
    #[error("the tls library can't be used")]
    Provider(#[source] rustls::Error),
}

/// A client configuration that trusts `roots` (PEM), or the public ones.
pub fn client_config(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, RootsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(RootsError::Pem)?;
                store.add(certificate).map_err(RootsError::Certificate)?;
            }
            if store.is_empty() {
                return Err(RootsError::Empty);
            }
        }
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Provider)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(feature = "aws-lc")]
fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc"))]
fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}
