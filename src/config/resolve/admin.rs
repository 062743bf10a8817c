//! Where a running porchd is asked.

use std::net::SocketAddr;

use crate::config::model::admin::{Admin, ControlSocket};
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::tree::Place;

impl Resolver<'_> {
    /// Where a running porchd is asked.
    pub(crate) fn admin(&mut self) -> Admin {
        let socket = self.file.admin.socket();
        let place = self.file.admin.socket.as_ref().map_or(Place::ROOT, |socket| socket.place);
        let length = socket.as_ref().map_or(0, |socket| socket.path.0.as_os_str().len());
        if length > MOST_PATH {
            self.findings.push(
                Finding::error(place, "this path is too long for a socket")
                    .label(format!("{length} bytes"))
                    .help(format!("systems take {MOST_PATH} bytes at most: put it into another folder")),
            );
        }
        let socket = socket.map(|one| ControlSocket { path: one.path.0, best_effort: one.best_effort });
        Admin { socket, metrics: self.metrics() }
    }

    /// Where figures are read: not where a listener is.
    fn metrics(&mut self) -> Option<SocketAddr> {
        let metrics = self.file.admin.metrics?;
        let address = metrics.value.0;
        let mut all = self.file.listeners.0.iter().flat_map(|(name, listener)| {
            listener.bind.iter().flat_map(|binds| &binds.value).map(move |bind| (name, bind))
        });
        if let Some((name, bind)) = all.find(|(_, bind)| meet(bind.address().0, address)) {
            let finding = Finding::error(metrics.place, format!("{address} is the address of a listener"))
                .label(format!("of `{}`", name.value))
                .help("figures have an address of their own: write another port");
            let told = bind.place == name.place;
            self.findings.push(if told { finding } else { finding.also(bind.place, "bound here") });
        }
        Some(address)
    }
}

/// What a unix socket's path may take beside its last zero byte; OpenBSD's and macOS's sun_path is the
/// shortest.
const MOST_PATH: usize = 103;

/// Whether two sockets with these addresses would be in each other's way.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    // Port 0 asks for any free port. `[::]` is IPv6 alone.
    let same_port = one.port() == other.port() && one.port() != 0;
    same_port && one.is_ipv4() == other.is_ipv4() && (any || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::meet;

    #[test]
    fn sockets_meet_on_one_port_of_one_family() {
        for (one, other, in_the_way) in [
            ("127.0.0.1:9178", "127.0.0.1:9178", true),
            ("0.0.0.0:9178", "127.0.0.1:9178", true),
            ("10.0.0.1:9178", "0.0.0.0:9178", true),
            ("[::]:9178", "[::1]:9178", true),
            ("[::]:9178", "127.0.0.1:9178", false),
            ("10.0.0.1:9178", "127.0.0.1:9178", false),
            ("0.0.0.0:9179", "127.0.0.1:9178", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let parse = |text: &str| text.parse().unwrap();
            assert_eq!(meet(parse(one), parse(other)), in_the_way, "{one} {other}");
        }
    }
}
