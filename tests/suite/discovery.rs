//! Discovery documents, what is never exposed, and the edge's own answers.

use serde_json::json;

use crate::home::{Home, ok};
use crate::porch::{Porch, matrix};

#[test]
fn discovery_is_answered_by_the_edge_also_without_home() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::before(&home);
    home.stop();
    let mut client = porch.connect();
    let server = client.get("/.well-known/matrix/server");
    assert_eq!((server.status, server.json()), (200, json!({ "m.server": "example.com:443" })));
    let answer = client.get("/.well-known/matrix/client");
    assert_eq!(answer.json(), json!({ "m.homeserver": { "base_url": "https://example.com" } }));
    for answer in [&server, &answer] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("cache-control").is_some());
    }
    let support = client.get("/.well-known/matrix/support");
    assert_eq!((support.status, support.header("access-control-allow-origin")), (404, Some("*")));
    let preflight = client.request("OPTIONS", "/.well-known/matrix/client", "Origin: https://x\r\n", b"");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
}

#[test]
fn a_redirect_of_discovery_has_cors() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::before(&home);
    let answer = porch.connect_plain("http").get("/.well-known/matrix/client");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (301, Some("*")));
}

/// Ways to say a path that must not be reached.
const HIDDEN: &[&str] = &[
    "/_synapse/admin/v1/server_version",
    "/_synapse/metrics",
    "/_synapse/replication/x",
    "/_synapse/mas/x",
    "/_synapse",
    "/health",
    "//_synapse/admin/v1/x",
    "/_synapse//admin/v1/x",
    "/%5fsynapse/admin/v1/x",
    "/_synapse/%61dmin/v1/x",
    "/_synapse%2fadmin/v1/x",
    "/_matrix/../_synapse/admin/v1/x",
    "/_matrix/%2e%2e/_synapse/admin/v1/x",
    "/_matrix/%2E%2E%2F_synapse/admin/v1/x",
    "/_matrix/..;/_synapse/admin/v1/x",
    "/_matrix/..%5c_synapse/admin/v1/x",
    "/_matrix/x/../../_synapse/admin/v1/x",
    "/_synapse/client/../admin/v1/x",
    "/_synapse/client/%2e%2e/admin/v1/x",
    "/_synapse/client/%252e%252e/admin/v1/x",
    "/./_synapse/admin/v1/x",
];

#[test]
fn what_is_denied_is_reached_by_no_spelling() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::before(&home);
    for path in HIDDEN {
        for listener in ["https", "federation"] {
            let answer = porch.connect_as(listener, "example.com").get(path);
            assert!(matches!(answer.status, 403 | 404), "{path} on {listener}: {answer:?}");
        }
    }
    assert_eq!(home.seen().len(), 0, "{:#?}", home.seen());
}

#[test]
fn the_edge_refuses_in_words_of_matrix() {
    let home = Home::new(|_| ok("home"));
    let porch = Porch::before(&home);
    let answer = porch.connect().get("/_synapse/admin/v1/users");
    assert_eq!((answer.status, &answer.json()["errcode"]), (404, &json!("M_UNRECOGNIZED")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_admin_api_opens_for_listed_addresses_alone() {
    let home = Home::new(|request| ok(request.target()));
    let open = |net: &str| {
        let text = matrix(&home, "")
            .replace("matrix:\n", &format!("matrix:\n  admin_api: {{ allow: [ {net} ] }}\n"));
        let porch = Porch::new(&text);
        porch.connect().get("/_synapse/admin/v1/users").status
    };
    assert_eq!(open("127.0.0.0/8"), 200);
    assert_eq!(open("10.77.0.0/24"), 404);
}

#[test]
fn everything_below_a_forwarded_prefix_goes_home() {
    let home = Home::new(|request| ok(request.target()));
    let porch = Porch::before(&home);
    let mut client = porch.connect();
    for path in ["/_matrix/", "/_matrix/unheard/of", "/_synapse/client/pick_username"] {
        assert_eq!(client.get(path).text(), path);
    }
    assert_eq!(client.get("/_matrixx").status, 404);
}

#[test]
fn home_is_down_is_never_a_404() {
    let home = Home::new(|_| ok("home"));
    let text =
        format!("{}upstreams: {{ home: {{ connect_timeout: 300ms, park: false }} }}\n", matrix(&home, ""));
    let porch = Porch::new(&text);
    home.stop();
    let mut client = porch.connect();
    for method in ["GET", "PUT", "POST"] {
        let answer = client.request(method, "/_matrix/client/v3/sync", "", b"{}");
        assert!((502..=504).contains(&answer.status), "{method}: {answer:?}");
        assert_eq!(answer.json()["errcode"], "M_UNKNOWN");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("retry-after").is_some());
    }
}

#[test]
fn behind_a_cdn_unavailable_is_429() {
    let home = Home::new(|_| ok("home"));
    let text = matrix(&home, "upstreams: { home: { connect_timeout: 300ms, park: false } }\n")
        .replace("matrix:\n", "matrix:\n  unavailable_status: 429\n");
    let porch = Porch::new(&text);
    home.stop();
    let answer = porch.connect().get("/_matrix/x");
    assert_eq!((answer.status, &answer.json()["errcode"]), (429, &json!("M_LIMIT_EXCEEDED")));
    assert!(answer.json()["retry_after_ms"].is_u64() && answer.header("retry-after").is_some());
}
