//! The parsers of the house and what they stand on, without the rest of it: all of porchd takes minutes to compile for
//! fuzzing, this takes seconds.
//!
//! Files are included by path, so that `crate::` means in them what it means at home. A parser with a floor of its
//! own above these gets a `mod` of the same name here. What is written out below is a stand-in for something that no
//! target looks at.

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/matrix/mod.rs"]
pub mod matrix;
#[path = "../../src/route/mod.rs"]
pub mod route;

#[path = "../../src/http"]
pub mod http {
    //! What looks at requests.
    pub mod ambiguity;
    pub mod authority;
    mod edits;
    pub mod forwarded;
    pub mod headers;
    mod hop;
    pub mod scan;
    pub mod survey;
    pub mod watch;
}

#[path = "../../src/listener"]
pub mod listener {
    //! What looks at the first bytes of a connection.
    pub mod proxy_protocol;
}

#[path = "../../src/handler"]
pub mod handler {
    //! From paths to files.
    pub mod files {
        //! From paths to files.
        mod path;

        /// The name of the file that `path` asks for, whether it is a folder, its one path, and whether that was another.
        pub fn wanted(path: &str) -> Option<(String, bool, String, bool)> {
            let wanted = path::Wanted::parse(path)?;
            let own = wanted.own_path();
            Some((wanted.name, wanted.folder, own, wanted.odd))
        }
    }
}

#[path = "../../src/upstream"]
pub mod upstream {
    //! What looks at answers, and what incidents are made of.
    pub mod codec;
    pub mod health;
    pub mod outage;
}

#[path = "../../src/tls"]
pub mod tls {
    //! What looks at certificates.
    pub mod inspect;
    pub mod internal_ca;
    pub mod pem;
    pub mod store;
    pub mod tickets;

    // The fallback provider: no target looks at cryptography, and it builds sooner.
    use rustls::crypto::ring as chosen;

    /// The provider.
    pub fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
        std::sync::Arc::new(chosen::default_provider())
    }
}

pub mod provision {
    //! A stand-in: no target provisions anything.

    /// A chain and its key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PemPair {
        /// The chain.
        pub cert: Vec<u8>,
        /// The key.
        pub key: Vec<u8>,
    }
}

pub mod clock {
    //! A stand-in without a runtime.

    /// Now.
    pub fn now() -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Anything: no target asks the kernel.
    pub fn random() -> u64 {
        0
    }
}

#[path = "../../src/home"]
pub mod home {
    //! What name servers and WireGuard say.
    pub mod address;
    pub mod message;
    pub mod standing;
    pub mod tunnel;
}

#[path = "../../src/telemetry"]
pub mod telemetry {
    //! What is counted.
    pub mod figures;

    pub mod access {
        //! A stand-in.

        /// Who answered.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Answered {
            /// Home.
            Home,
            /// The edge.
            Edge,
        }
    }
}

#[path = "../../src/os"]
pub mod os {
    //! Words for the disk's errors.
    pub mod disk_fault;

    pub mod confine {
        //! A stand-in: nobody is confined here.

        /// Whether WireGuard may be asked.
        pub fn may_ask_tunnels() -> bool {
            true
        }
    }
}

#[path = "../../src/acme"]
pub mod acme {
    //! What is kept in the state folder, and what a CA answers.
    pub mod answer;
    pub mod directory;
    pub mod failure;
    pub mod jws;
    pub mod ledger;
    pub mod limits;
    pub mod moment;
    pub mod names;
    pub mod problem;
    pub mod records;
    pub mod renewal_window;
    pub mod status;
    pub mod verify;

    pub mod client {
        //! A stand-in: no target asks a CA.

        /// A request that got no whole answer.
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        pub struct RequestError;

        impl RequestError {
            /// Whether it failed before anything was asked.
            pub fn is_unreached(&self) -> bool {
                true
            }
        }
    }

    pub mod vault {
        //! The state folder.
        mod certificate_file;
        pub mod error;
        mod file_names;

        use crate::acme::records::Stored;

        /// What a certificate's file holds.
        pub fn certificate(text: &str) -> Result<Stored, error::Fault> {
            certificate_file::parse(text)
        }

        /// The text of a certificate's file.
        pub fn text(stored: &Stored, comment: &str) -> String {
            certificate_file::text(stored, comment)
        }

        /// The names of a site's files and of a CA's folder.
        pub fn file_names(site: &str) -> [String; 2] {
            [file_names::of_site(site), file_names::of_authority(site)]
        }
    }
}

#[path = "../../src/incidents"]
pub mod incidents {
    //! What is kept of incidents.
    pub mod evidence;
    pub mod file;
    pub mod journal;
    pub mod record;
    pub mod told;
    pub mod tunnel;
}

#[path = "../../src/admin"]
pub mod admin {
    //! What is said over the control socket.
    pub mod explanation;
    pub mod exposition;
    pub mod protocol;
    pub mod status;
    pub mod tunnel;

    pub mod explain {
        //! The URL that is to be explained.
        mod url;

        /// A stand-in for what else can't be explained.
        #[derive(Debug)]
        pub enum ExplainError {
            /// No URL.
            Url(String),
            /// A URL with a fragment.
            Fragment,
        }

        /// The URL's target, whether it is by TLS, its port, and how it is shown.
        pub fn url(text: &str) -> Result<(String, bool, u16, String), ExplainError> {
            let url = url::Url::parse(text)?;
            Ok((url.target().to_owned(), url.tls, url.port(), url.shown()))
        }
    }
}
