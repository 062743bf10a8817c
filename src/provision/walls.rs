//! What the edge must reach for a configuration, and what of it walls that stand already keep out (pure).
//!
//! It puts up no walls: `os::confine` does. Certificates, keys and logs are not in it: they are opened by whoever has
//! the privileges, and handed over.

use std::fmt;
use std::path::{Path, PathBuf};

use http::Uri;

use crate::config::model::acme::Acme;
use crate::config::model::home::Nameserver;
use crate::config::model::log::LogTo;
use crate::config::model::route::Action;
use crate::config::model::{BackendAddress, Config, Site, Upstream};
use crate::os::confine::Walls;

/// Where a domain name service takes connections, for answers that no datagram holds.
const DNS: u16 = 53;

/// Where a CA asks (RFC 8555 section 8.3, RFC 8737), and so porchd before it; and where most CAs are.
const ACME: [u16; 2] = [80, 443];

/// The system's log, where it is a socket.
const SYSLOG: &str = "/dev/log";

/// Something that must be reached, and the key that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The key, as people find it: `site "example.com", route "/"`.
    pub key: String,
    /// What it is.
    pub reach: Reach,
}

impl Want {
    /// Whether it is `path` that must be reached.
    pub fn is_for(&self, path: &Path) -> bool {
        match &self.reach {
            Reach::Read(own) | Reach::Write(own) | Reach::Socket(own) => own == path,
            Reach::Port(_) => false,
        }
    }
}

/// Something to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A folder to read.
    Read(PathBuf),
    /// A folder to write to.
    Write(PathBuf),
    /// A unix socket to connect to.
    Socket(PathBuf),
    /// A TCP port to connect to.
    Port(u16),
}

/// Something that a configuration needs and the walls keep out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// What is needed.
    pub want: Want,
    /// Where its path leads, if it is a link.
    pub leads_to: Option<PathBuf>,
}

impl std::error::Error for Beyond {}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.want.key)?;
        match &self.want.reach {
            Reach::Read(path) => write!(f, "{} can't be read", path.display())?,
            Reach::Write(path) => write!(f, "{} can't be written to", path.display())?,
            Reach::Socket(path) => write!(f, "the socket {} can't be connected to", path.display())?,
            Reach::Port(port) => write!(f, "TCP port {port} can't be connected to")?,
        }
        if let Some(real) = &self.leads_to {
            write!(f, " (it leads to {})", real.display())?;
        }
        f.write_str(" from within the walls that were put up at the start; porchd upgrade applies it")
    }
}

/// All that the edge must reach for `config`, in the order of the configuration.
pub fn wanted(config: &Config) -> Vec<Want> {
    let mut wants = vec![
        want("state_dir", Reach::Write(config.state_dir.clone())),
        want("name resolution", Reach::Port(DNS)),
    ];
    if config.log.to == LogTo::Syslog {
        wants.push(want("log.to", Reach::Socket(SYSLOG.into())));
    }
    if let Some(address) = &config.home_link.address {
        let port = match &address.nameserver {
            Nameserver::Socket(at) => at.port(),
            Nameserver::Name(_, port) => *port,
        };
        wants.push(want("home_link.address", Reach::Port(port)));
    }
    wants.extend(config.acme.iter().flat_map(of_acme));
    wants.extend(config.upstreams.iter().flat_map(of_upstream));
    wants.extend(config.sites.iter().flat_map(of_site));
    wants
}

/// The walls that hold all of `wanted` and nothing more.
pub fn around(wanted: &[Want]) -> Walls {
    let mut walls = Walls::default();
    let mut ports = Vec::new();
    for Want { reach, .. } in wanted {
        match reach {
            Reach::Read(path) => add(&mut walls.read, path),
            Reach::Write(path) => add(&mut walls.write, path),
            Reach::Socket(path) => add(&mut walls.sockets, path),
            Reach::Port(port) => ports.push(*port),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    walls.connect = Some(ports);
    walls
}

/// What of `wanted` the walls `held` keep out; `leads_to` follows the links of a path as they are now.
pub fn beyond(held: &Walls, wanted: &[Want], leads_to: &dyn Fn(&Path) -> PathBuf) -> Vec<Beyond> {
    let beneath = |path: &Path, folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
    let outside = |want: &Want| {
        let (path, inside) = match &want.reach {
            Reach::Port(port) => {
                let inside = held.connect.as_ref().is_none_or(|ports| ports.contains(port));
                return (!inside).then(|| Beyond { want: want.clone(), leads_to: None });
            }
            // As it is written: what the path of a socket leads to comes and goes with its program.
            Reach::Socket(path) => (path, beneath(path, &held.sockets)),
            Reach::Write(path) => (path, beneath(&leads_to(path), &held.write)),
            Reach::Read(path) => {
                let real = leads_to(path);
                (path, beneath(&real, &held.read) || beneath(&real, &held.write))
            }
        };
        let leads_to = Some(leads_to(path)).filter(|real| real != path);
        (!inside).then(|| Beyond { want: want.clone(), leads_to })
    };
    wanted.iter().filter_map(outside).collect()
}

fn want(key: impl Into<String>, reach: Reach) -> Want {
    Want { key: key.into(), reach }
}

fn add(paths: &mut Vec<PathBuf>, path: &Path) {
    if !paths.iter().any(|known| known == path) {
        paths.push(path.to_owned());
    }
}

fn of_acme(acme: &Acme) -> Vec<Want> {
    let checks = ACME.map(|port| want("acme", Reach::Port(port)));
    let directories = acme.authorities.iter().filter_map(|authority| {
        let port = authority.directory.parse::<Uri>().ok()?.port_u16()?;
        Some(want(format!("acme, {}", authority.directory), Reach::Port(port)))
    });
    checks.into_iter().chain(directories).collect()
}

fn of_upstream(upstream: &Upstream) -> Vec<Want> {
    let of_backend = |address: &BackendAddress| match address {
        BackendAddress::Socket(addr) => Reach::Port(addr.port()),
        BackendAddress::Name(_, port) => Reach::Port(*port),
        BackendAddress::Unix(path) => Reach::Socket(path.clone()),
    };
    let backends = upstream.backends.iter().map(|backend| &backend.address);
    backends
        .map(|address| {
            want(format!("upstream \"{}\", backend {address}", upstream.name), of_backend(address))
        })
        .collect()
}

fn of_site(site: &Site) -> Vec<Want> {
    let name = &site.name;
    let pages = site
        .error_pages
        .iter()
        .map(|folder| want(format!("site \"{name}\", error_pages"), Reach::Read(folder.clone())));
    let roots = site.routes.iter().filter_map(|route| match &route.action {
        Action::Files(files) => {
            Some(want(format!("site \"{name}\", route \"{}\"", route.path), Reach::Read(files.root.clone())))
        }
        _ => None,
    });
    pages.chain(roots).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn wants(text: &str) -> Vec<Want> {
        let text =
            format!("matrix: {{ server_name: a.example, home: 127.0.0.1:8008 }}\nstate_dir: /state\n{text}");
        let loaded = config::load(&text, "t").map_err(|report| report.to_string());
        wanted(&loaded.unwrap_or_else(|report| unreachable!("{report}")).config)
    }

    fn told(held: &Walls, text: &str) -> Vec<String> {
        let linked = |path: &Path| match path.strip_prefix("/current") {
            Ok(rest) => Path::new("/releases/2").join(rest),
            Err(_) => path.to_owned(),
        };
        let told = beyond(held, &wants(text), &linked).iter().map(ToString::to_string).collect::<Vec<_>>();
        let end = " from within the walls that were put up at the start; porchd upgrade applies it";
        told.iter().map(|line| line.strip_suffix(end).unwrap().to_owned()).collect()
    }

    #[test]
    fn walls_hold_what_the_configuration_reaches_and_no_more() {
        let least = around(&wants(""));
        let expected =
            Walls { write: vec!["/state".into()], connect: Some(vec![53, 8008]), ..Walls::default() };
        assert_eq!(least, expected);
        let walls = around(&wants(
            "acme: { contact: a@a.example, directory: \"https://ca.example:14000/dir\", fallback: [ letsencrypt ] }\n\
             log: { to: syslog }\n\
             upstreams:\n  b: { backends: [ \"wiki.lan:8443\", \"unix:/run/b/socket\", \"10.0.0.1:8008\" ] }\n\
             sites:\n  - hosts: [ b.example ]\n    error_pages: /srv/errors\n    routes:\n      \
             - { path: /, files: { root: /srv/b } }\n      - { path: /b/, forward: b }\n  \
             - hosts: [ c.example ]\n    routes: [ { path: /, files: { root: /srv/b } } ]\n",
        ));
        assert_eq!(walls.read, [Path::new("/srv/errors"), Path::new("/srv/b")]);
        assert_eq!(walls.write, [Path::new("/state")]);
        assert_eq!(walls.sockets, [Path::new("/dev/log"), Path::new("/run/b/socket")]);
        assert_eq!(walls.connect, Some(vec![53, 80, 443, 8008, 8443, 14000]));
    }

    #[test]
    fn element_is_a_root_too() {
        let text = "matrix: { server_name: a.example, home: 127.0.0.1:8008, element: { host: e.example, root: /srv/e } }";
        let walls = around(&wanted(&config::load(text, "t").unwrap().config));
        assert_eq!(walls.read, [Path::new("/srv/e")]);
    }

    #[test]
    fn what_is_beyond_is_told_by_key_and_path_or_port() {
        let held = Walls {
            read: vec!["/srv".into(), "/releases/1".into()],
            write: vec!["/state".into()],
            sockets: vec!["/run/b".into()],
            connect: Some(vec![53, 8008]),
        };
        let site = |root: &str| {
            format!(
                "sites: [ {{ hosts: [ b.example ], routes: [ {{ path: /, files: {{ root: {root} }} }} ] }} ]"
            )
        };
        let upstream = |backend: &str| format!("upstreams: {{ b: {{ backends: [ \"{backend}\" ] }} }}");
        for (text, expected) in [
            (String::new(), None),
            (site("/srv"), None),
            (site("/srv/b/c"), None),
            (site("/state/www"), None),
            (site("/srv2"), Some("site \"b.example\", route \"/\": /srv2 can't be read")),
            (
                site("/current/b"),
                Some("site \"b.example\", route \"/\": /current/b can't be read (it leads to /releases/2/b)"),
            ),
            (upstream("127.0.0.1:53"), None),
            (upstream("unix:/run/b"), None),
            (
                upstream("home.lan:8009"),
                Some("upstream \"b\", backend home.lan:8009: TCP port 8009 can't be connected to"),
            ),
            (
                upstream("unix:/run/c"),
                Some("upstream \"b\", backend unix:/run/c: the socket /run/c can't be connected to"),
            ),
            ("log: { to: syslog }".to_owned(), Some("log.to: the socket /dev/log can't be connected to")),
        ] {
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(told(&held, &text), expected, "{text}");
        }
    }

    #[test]
    fn another_state_folder_is_beyond() {
        let mut held = around(&wants(""));
        assert!(told(&held, "").is_empty());
        held.write = vec!["/elsewhere".into()];
        assert_eq!(told(&held, ""), ["state_dir: /state can't be written to"]);
    }

    #[test]
    fn nothing_is_beyond_where_there_are_no_walls() {
        let text = "log: { to: syslog }\nacme: { contact: a@a.example }\n\
                    upstreams: { b: { backends: [ \"unix:/run/c\", \"10.0.0.1:1\" ] } }";
        assert!(told(&Walls::none(), text).is_empty());
    }
}
