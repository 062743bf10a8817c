//! Which route of a site a path takes: the exact path, then the longest prefix that ends at a segment's
//! edge; of two routes with one path a deny wins.
//!
//! The raw path is what is routed and forwarded. What else it may mean can only take a route away: no
//! reading of a path leads below a deny, or past the access list of another route.

use std::sync::Arc;

use http::HeaderValue;

use super::hash::Map;
use super::path::{Flat, Meaning, meaning, segments};
use crate::config::model::route::{Action, Route};
use crate::config::model::{Hsts, Site};

/// One site, ready for look-ups.
#[derive(Debug)]
pub struct SiteTable {
    /// The site as configured.
    pub site: Arc<Site>,
    /// The value of Strict-Transport-Security, if it has one (RFC 6797 6.1).
    pub hsts: Option<HeaderValue>,
    by_path: Map<Box<[u8]>, Arc<Route>>,
    /// Bit n: some path has n bytes; the last bit: so many or more.
    lengths: u128,
    longest: usize,
    /// Routes that deny or have an access list of their own.
    guarded: Vec<Guarded>,
}

/// A guarded route and the segments of its path.
#[derive(Debug)]
struct Guarded {
    segments: Vec<Vec<u8>>,
    route: Arc<Route>,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub enum Matched<'a> {
    /// To this route.
    Route(&'a Arc<Route>),
    /// Nowhere: this route denies it, or guards something that the path may also mean.
    Denied(&'a Arc<Route>),
    /// Nowhere: no route names it.
    Nothing,
}

impl SiteTable {
    /// Builds the table of one site.
    pub fn new(site: Site) -> Self {
        let mut table = Self {
            hsts: site.hsts.as_ref().map(hsts),
            site: Arc::new(site),
            by_path: Map::default(),
            lengths: 0,
            longest: 0,
            guarded: Vec::new(),
        };
        let site = Arc::clone(&table.site);
        // Denies first: of two routes with one path the first stays.
        let (denies, others): (Vec<_>, Vec<_>) = site.routes.iter().partition(|route| denies(route));
        for route in denies.iter().chain(&others) {
            table.add(&Arc::new(Route::clone(route)));
        }
        // A denied folder is not to be seen at its own name either, unless a route says otherwise.
        for route in denies {
            if let Some(folder) = route.path.strip_suffix('/').filter(|folder| !folder.is_empty()) {
                table.insert(folder.as_bytes(), &Arc::new(Route::clone(route)));
            }
        }
        table
    }

    /// Where `raw_path` (without its query) leads.
    pub fn route(&self, raw_path: &str) -> Matched<'_> {
        let raw = self.longest(raw_path.as_bytes());
        match (raw, meaning(raw_path.as_bytes())) {
            (Some(route), _) if denies(route) => Matched::Denied(route),
            (Some(route), Meaning::Plain) => Matched::Route(route),
            (raw, Meaning::Odd(flat)) => self.route_odd(raw, &flat),
            (None, Meaning::Plain) | (_, Meaning::TooDeep) => Matched::Nothing,
        }
    }

    /// Whether `host` (lower case, without port and trailing dot) is one of the site's.
    pub fn name_in_site(&self, host: &str) -> bool {
        self.site.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// A path of several meanings: the raw one's route, unless another meaning forbids.
    ///
    /// Below a route that the raw path spells out, every reading stays below that route (nothing is left
    /// out), so only what is guarded deeper than it counts. When segments can be left out, any route
    /// whose segments occur in order can be meant.
    fn route_odd<'a>(&'a self, raw: Option<&'a Arc<Route>>, flat: &Flat) -> Matched<'a> {
        if let Some(all) = &flat.loose {
            let meant = |guarded: &&Guarded| is_subsequence(&guarded.segments, all);
            if let Some(guarded) = self.guarded.iter().find(meant) {
                return Matched::Denied(&guarded.route);
            }
        }
        let depth = |route: &Arc<Route>| segments(route.path.as_bytes()).len();
        let deeper = |other: &Arc<Route>| raw.is_none_or(|raw| depth(other) > depth(raw));
        let mut meant = self.prefixes(&flat.path).peekable();
        match (raw, meant.peek()) {
            // Nearly always all readings lead to one route.
            (Some(raw), Some(same)) if Arc::ptr_eq(raw, same) => return Matched::Route(raw),
            _ => {}
        }
        let routed = meant.peek().is_some();
        if let Some(guard) = meant.find(|other| is_guarded(other) && deeper(other)) {
            return Matched::Denied(guard);
        }
        raw.filter(|_| routed).map_or(Matched::Nothing, Matched::Route)
    }

    fn add(&mut self, route: &Arc<Route>) {
        let path = route.path.as_bytes();
        self.insert(path, route);
        if let Meaning::Odd(flat) = meaning(path) {
            self.insert(&flat.path, route);
        }
        if is_guarded(route) {
            self.guarded.push(Guarded { segments: segments(path), route: Arc::clone(route) });
        }
    }

    fn insert(&mut self, path: &[u8], route: &Arc<Route>) {
        self.lengths |= bit(path.len());
        self.longest = self.longest.max(path.len());
        self.by_path.entry(Box::from(path)).or_insert_with(|| Arc::clone(route));
    }

    fn longest<'a>(&'a self, path: &[u8]) -> Option<&'a Arc<Route>> {
        self.prefixes(path).next()
    }

    /// The routes above `path` and at it, the longest first.
    fn prefixes<'a, 'p>(&'a self, path: &'p [u8]) -> impl Iterator<Item = &'a Arc<Route>> + use<'a, 'p> {
        // No route is longer than `longest`: what is behind that is not looked at.
        let within = &path[..path.len().min(self.longest + 1)];
        let whole = (path.len() <= self.longest).then_some(path.len());
        let edges = memchr::memrchr_iter(b'/', within).flat_map(|slash| [slash + 1, slash]);
        let edges = edges.filter(move |edge| *edge > 0 && *edge < path.len());
        let lengths = whole.into_iter().chain(edges).filter(|length| self.lengths & bit(*length) != 0);
        lengths.filter_map(|length| self.by_path.get(&path[..length]))
    }
}

fn bit(length: usize) -> u128 {
    1 << length.min(127)
}

fn denies(route: &Route) -> bool {
    route.action == Action::Deny
}

fn is_guarded(route: &Route) -> bool {
    denies(route) || route.access.is_some()
}

fn is_subsequence(few: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut rest = all.iter();
    few.iter().all(|segment| rest.any(|other| other == segment))
}

fn hsts(hsts: &Hsts) -> HeaderValue {
    let mut value = format!("max-age={}", hsts.max_age.as_secs());
    if hsts.subdomains {
        value.push_str("; includeSubDomains");
    }
    if hsts.preload {
        value.push_str("; preload");
    }
    // Digits and the words above are always a valid value.
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("max-age=0"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::tests::{forward, route, site};
    use super::*;
    use crate::config::model::Access;

    fn table(routes: Vec<Route>) -> SiteTable {
        SiteTable::new(site(&["a.example"], &["https"], routes))
    }

    fn synapse() -> SiteTable {
        table(vec![
            route("/_matrix/", forward("home")),
            route("/_synapse/client/", forward("home")),
            route("/_synapse/", Action::Deny),
            route("/", forward("site")),
            Route { access: Some(Access::default()), ..route("/lan/", forward("lan")) },
            route("/secret", Action::Deny),
            route("/secret/open/", forward("open")),
        ])
    }

    fn led(table: &SiteTable, path: &str) -> String {
        match table.route(path) {
            Matched::Route(route) => route.path.to_string(),
            Matched::Denied(route) => format!("denied by {}", route.path),
            Matched::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let table = synapse();
        for (path, expected) in [
            ("/", "/"),
            ("/_matrix/client/versions", "/_matrix/"),
            ("/_matrix", "/"),
            ("/_synapse/client/x", "/_synapse/client/"),
            ("/_synapse/admin/v1/users", "denied by /_synapse/"),
            ("/_synapse/client", "denied by /_synapse/"),
            ("/_synapse", "denied by /_synapse/"),
            ("/_synapses", "/"),
            ("/secret", "denied by /secret"),
            ("/secret/", "denied by /secret"),
            ("/secret/open/x", "/secret/open/"),
            ("/lan/x", "/lan/"),
            ("/.well-known/matrix/client", "/"),
            ("*", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(led(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn prefix_stops_at_segment_edge() {
        let table = table(vec![route("/a", forward("a")), route("/a/b/", forward("b"))]);
        for (path, expected) in [
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/x", "/a"),
            ("/ab", "nothing"),
            ("/a/b", "/a"),
            ("/a/b/", "/a/b/"),
            ("/a/b/c/d", "/a/b/"),
            ("/", "nothing"),
        ] {
            assert_eq!(led(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn deny_wins_at_equal_length() {
        for routes in [
            vec![route("/a/", forward("a")), route("/a/", Action::Deny)],
            vec![route("/a/", Action::Deny), route("/a/", forward("a"))],
        ] {
            assert_eq!(led(&table(routes), "/a/x"), "denied by /a/");
        }
    }

    #[test]
    fn a_route_at_a_denied_folders_own_name_stays() {
        let table = table(vec![route("/a/", Action::Deny), route("/a", forward("a"))]);
        assert_eq!(led(&table, "/a"), "/a");
        assert_eq!(led(&table, "/a/"), "denied by /a/");
    }

    #[test]
    fn no_spelling_of_a_denied_path_passes() {
        let table = synapse();
        for path in [
            "/_synapse/%61dmin/v1/users",
            "/%5fsynapse/admin",
            "/%255fsynapse/admin",
            "//_synapse/admin",
            "/_matrix/../_synapse/admin",
            "/_matrix/%2e%2e/_synapse/admin",
            "/_matrix/..%2f_synapse%2fadmin",
            "/_matrix/%252e%252e/_synapse/admin",
            "/_matrix/..;/_synapse/admin",
            "/_matrix/..%3b/_synapse/admin",
            "/_matrix/..\\_synapse\\admin",
            "/\\_synapse/admin",
            "/_synapse;x/admin",
            "/_synapse%00/admin",
            "/_synapse/client/../admin",
            "/_synapse/client/%2e%2e/admin",
            "/_synapse/x/../admin",
            "/./_synapse/admin",
            "/_synapse%2Fadmin",
            "/secret%2f",
            "/secret%3fx",
            "/secret%00x",
            "/x;%2fy/../secret",
            "/secret/open/../x",
        ] {
            assert!(matches!(table.route(path), Matched::Denied(_)), "{path}: {}", led(&table, path));
        }
    }

    #[test]
    fn parameters_can_not_hide_a_denied_path() {
        let table = table(vec![route("/a/", forward("a")), route("/a/b/", Action::Deny)]);
        for path in ["/a/b;x/y", "/a/x;%2fy/../b/", "/a;%2Fx/b/y", "/a%3B%2Fx/b/y", "/a/;\\x/b/y"] {
            assert_eq!(led(&table, path), "denied by /a/b/", "{path}");
        }
        assert_eq!(led(&table, "/a/x;y/b"), "/a/");
    }

    #[test]
    fn access_lists_of_other_routes_are_not_passed_by() {
        let table = synapse();
        for path in ["/_matrix/../lan/x", "/%6can/x", "//lan/x", "/x/%2e%2e/lan/"] {
            assert_eq!(led(&table, path), "denied by /lan/", "{path}");
        }
        assert_eq!(led(&table, "/lan/a%20b"), "/lan/");
    }

    #[test]
    fn odd_names_of_matrix_pass() {
        let table = synapse();
        for path in [
            "/_matrix/client/v3/rooms/%21a%3Ab/send/m.room.message/t%2F1",
            "/_matrix/client/v3/directory/room/%23a%2Fb%3Ac",
            "/_matrix/client/v3/directory/room/%23caf%C3%A9%25%3Ac",
            "/_matrix/key/v2/query/a//b",
            "/_matrix/client/v3/room_keys/keys/!a/abc%2Bd%2Fe",
            "/_matrix/client/v3/profile/@a;b:c/displayname",
            "/_matrix/media/v3/download/a/..b",
        ] {
            assert_eq!(led(&table, path), "/_matrix/", "{path}");
        }
        assert_eq!(led(&table, "/_synapse/client/oidc%2Fcallback"), "/_synapse/client/");
    }

    #[test]
    fn a_site_that_denies_the_rest_lets_odd_names_pass() {
        let table = table(vec![route("/_matrix/", forward("home")), route("/", Action::Deny)]);
        assert_eq!(led(&table, "/_matrix/client/v3/directory/room/%23a%2Fb%3Ac"), "/_matrix/");
        assert_eq!(led(&table, "/_matrix/x/../y"), "denied by /");
        assert_eq!(led(&table, "/%5fmatrix/x"), "denied by /");
    }

    #[test]
    fn what_may_mean_an_unrouted_path_leads_nowhere() {
        let table = table(vec![route("/_matrix/", forward("home"))]);
        assert_eq!(led(&table, "/_matrix/../private"), "nothing");
        assert_eq!(led(&table, "/_matrix/%25252525252e"), "nothing");
        assert_eq!(led(&table, "/%5fmatrix/x"), "nothing");
        assert_eq!(led(&table, "/_matrix/./x"), "/_matrix/");
    }

    #[test]
    fn encoded_route_paths_match_both_forms() {
        let table = table(vec![route("/a%20b/", forward("a")), route("/a%20b/no", Action::Deny)]);
        assert_eq!(led(&table, "/a%20b/x"), "/a%20b/");
        assert_eq!(led(&table, "/a%20b/no"), "denied by /a%20b/no");
        assert_eq!(led(&table, "/a%20b/%6eo"), "denied by /a%20b/no");
    }

    #[test]
    fn hsts_is_written_as_the_rfc_says() {
        let max_age = Duration::from_secs(3600);
        assert_eq!(hsts(&Hsts { max_age, subdomains: false, preload: false }), "max-age=3600");
        let all = hsts(&Hsts { max_age, subdomains: true, preload: true });
        assert_eq!(all, "max-age=3600; includeSubDomains; preload");
    }

    #[test]
    fn wildcard_and_exact_names_are_the_sites() {
        let table = SiteTable::new(site(&["a.example", "*.b.example"], &["https"], vec![]));
        assert!(table.name_in_site("a.example") && table.name_in_site("x.b.example"));
        assert!(!table.name_in_site("b.example") && !table.name_in_site("x.a.example"));
    }

    /// What a reader behind the edge may do to a path, as a chain of steps.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Decode,
        Backslashes,
        Parameters,
        Cut,
        Merge,
        Dots,
    }

    fn read(path: &[u8], step: Step) -> Vec<u8> {
        let split = || path.split(|byte| *byte == b'/');
        match step {
            Step::Decode => percent_encoding::percent_decode(path).collect(),
            Step::Backslashes => path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
            Step::Parameters => {
                let first =
                    |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or(b"").to_vec();
                split().map(first).collect::<Vec<_>>().join(&b'/')
            }
            Step::Cut => path.split(|byte| b"?#\0".contains(byte)).next().unwrap_or(b"").to_vec(),
            Step::Merge => {
                let mut merged = path.to_vec();
                merged.dedup_by(|next, before| *next == b'/' && *before == b'/');
                merged
            }
            Step::Dots => {
                let mut kept: Vec<&[u8]> = Vec::new();
                let all: Vec<_> = split().skip(1).collect();
                for (at, segment) in all.iter().enumerate() {
                    match *segment {
                        b"." => {}
                        b".." => drop(kept.pop()),
                        name => kept.push(name),
                    }
                    if at + 1 == all.len() && matches!(*segment, b"." | b"..") {
                        kept.push(b"");
                    }
                }
                [&b"/"[..], &kept.join(&b'/')].concat()
            }
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        let words =
            ["_synapse", "admin", "client", "_matrix", "secret", "open", "lan", "..", ".", "", "x", "..;a"];
        let separators = [
            "/", "/", "/", "//", "\\", "%2f", "%252F", "%5c", ";/", ";%2f", "%3b/", "/;a/", "%00", "%3f",
            "%23/",
        ];
        let encode = |(word, separator, plan): (&str, &str, Vec<u8>)| {
            let letter = |(char, deep): (char, &u8)| match deep {
                1 => format!("%{:02x}", u32::from(char)),
                2 => format!("%25{:02X}", u32::from(char)),
                _ => char.to_string(),
            };
            separator.to_owned() + &word.chars().zip(plan.iter().cycle()).map(letter).collect::<String>()
        };
        let plan = proptest::collection::vec(0..8u8, 1..6);
        (prop::sample::select(words.to_vec()), prop::sample::select(separators.to_vec()), plan)
            .prop_map(encode)
    }

    fn step() -> impl Strategy<Value = Step> {
        use Step::*;
        prop::sample::select(vec![Decode, Backslashes, Parameters, Cut, Merge, Dots])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn no_reading_of_a_forwarded_path_is_denied(
            pieces in proptest::collection::vec(piece(), 1..6),
            steps in proptest::collection::vec(step(), 0..9),
            base in prop::sample::select(vec!["", "/_matrix", "/_synapse/client", "/secret/open"]),
        ) {
            let raw = format!("{base}/{}", pieces.concat());
            let table = synapse();
            let Matched::Route(route) = table.route(&raw) else { return Ok(()) };
            let mut path = raw.clone().into_bytes();
            let mut decodes = 0;
            for step in steps {
                decodes += usize::from(matches!(step, Step::Decode));
                if decodes <= 3 {
                    path = read(&path, step);
                }
                let meant = table.longest(&path);
                let read = String::from_utf8_lossy(&path).into_owned();
                prop_assert!(!meant.is_some_and(|meant| denies(meant)), "{} may be read as {}", raw, read);
                let guarded = meant.is_some_and(|meant| meant.access.is_some() && meant.path != route.path);
                prop_assert!(!guarded, "{} may be read as {}", raw, read);
            }
        }

        #[test]
        fn any_path_is_routed_or_not(path in "\\PC{0,60}|[/.%;\\\\25eEfF]{0,40}") {
            let _ = synapse().route(&path);
            prop_assert!(matches!(table(vec![]).route(&path), Matched::Nothing));
        }

        #[test]
        fn a_look_up_agrees_with_a_search(
            paths in proptest::collection::vec("(/[ab]{1,2}){0,3}/?", 0..8),
            asked in "(/[ab]{1,2}){0,4}/?",
        ) {
            let table = table(paths.iter().filter(|path| !path.is_empty()).map(|path| route(path, forward("a"))).collect());
            let under = |path: &&String| {
                asked.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.ends_with('/'))
            };
            let expected = paths.iter().filter(|path| !path.is_empty()).filter(under).max_by_key(|path| path.len());
            let found = match table.route(&asked) {
                Matched::Route(route) => Some(route.path.to_string()),
                _ => None,
            };
            prop_assert_eq!(found, expected.cloned());
        }
    }
}
