//! The discovery documents under `/.well-known/matrix/`, as JSON bytes ready to send.
//!
//! They are built once when the configuration is resolved, so that they are answered while home is away.
//! What goes into them is the preset's business.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// `server`: where peers reach the homeserver (server-server API, "Server discovery"), such as
/// `matrix.example.com:443`.
pub fn server(delegate: &str) -> Bytes {
    bytes(&json!({ "m.server": delegate }))
}

/// `client`: where clients reach it (client-server API, "Well-known URI").
///
/// `extra` is merged in, object by object; where both say something, `extra` wins.
pub fn client(base_url: &str, extra: &Map<String, Value>) -> Bytes {
    let mut document = json!({ "m.homeserver": { "base_url": base_url } });
    merge(&mut document, extra);
    bytes(&document)
}

/// `support`: whom to turn to (client-server API, since 1.10), exactly as written.
pub fn support(document: &Value) -> Bytes {
    bytes(document)
}

/// Lays `extra` over `document`, which is an object.
fn merge(document: &mut Value, extra: &Map<String, Value>) {
    for (key, new) in extra {
        match (&mut document[key.as_str()], new) {
            (old @ Value::Object(_), Value::Object(new)) => merge(old, new),
            (old, new) => *old = new.clone(),
        }
    }
}

fn bytes(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn plain_documents_are_minimal() {
        assert_eq!(server("matrix.example.com:443"), r#"{"m.server":"matrix.example.com:443"}"#);
        assert_eq!(
            client("https://matrix.example.com", &Map::new()),
            r#"{"m.homeserver":{"base_url":"https://matrix.example.com"}}"#
        );
        assert_eq!(support(&json!({ "support_page": "https://a" })), r#"{"support_page":"https://a"}"#);
    }

    #[test]
    fn extra_is_merged_and_wins() {
        let extra = object(json!({
            "m.homeserver": { "note": 1 },
            "m.identity_server": { "base_url": "https://id.example.com" },
            "org.matrix.msc4143.rtc_foci": [ { "type": "livekit" } ],
        }));
        let document: Value = serde_json::from_slice(&client("https://m", &extra)).expect("JSON");
        assert_eq!(document["m.homeserver"], json!({ "base_url": "https://m", "note": 1 }));
        assert_eq!(document["org.matrix.msc4143.rtc_foci"][0]["type"], "livekit");

        let extra = object(json!({ "m.homeserver": { "base_url": "https://other" } }));
        let document: Value = serde_json::from_slice(&client("https://m", &extra)).expect("JSON");
        assert_eq!(document["m.homeserver"]["base_url"], "https://other");
    }

    #[test]
    fn an_extra_of_another_shape_replaces() {
        let extra = object(json!({ "m.homeserver": "odd" }));
        let document: Value = serde_json::from_slice(&client("https://m", &extra)).expect("JSON");
        assert_eq!(document["m.homeserver"], "odd");
    }
}
