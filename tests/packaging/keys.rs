//! porchd.yaml(5): every key of the schema, set into the page that `porchd.yaml.5.in` begins and ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{agree, mdoc, text_of};

const PAGE: &str = "packaging/man/porchd.yaml.5";
const PLACE: &str = ".\\\" KEYS\n";

/// What is written while the schema is walked.
struct Page<'a> {
    kinds: &'a Map<String, Value>,
    /// Where the keys of a kind were told already.
    told: BTreeMap<String, String>,
    out: String,
}

#[test]
fn every_key_is_told() {
    let schema: Value = serde_json::from_str(&text_of("src/config/schema.json")).expect("the schema");
    let page = page(&schema);
    agree(PAGE, &page);
    for key in keys(&schema) {
        let told = |line: &str| {
            line.strip_prefix(".It Cm ").or_else(|| line.strip_prefix(".Ss ")).is_some_and(|path| {
                path.rsplit('.').next().is_some_and(|last| last.trim_end_matches("[]") == key)
            })
        };
        assert!(page.lines().any(told), "{PAGE} does not tell of `{key}`");
    }
}

/// Every name of a property, wherever it is.
fn keys(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(entries) => found.extend(entries.values().flat_map(keys)),
        Value::Array(items) => found.extend(items.iter().flat_map(keys)),
        _ => {}
    }
    found
}

fn page(schema: &Value) -> String {
    let frame = text_of("packaging/man/porchd.yaml.5.in");
    let (head, tail) = frame.split_once(PLACE).expect("the place of the keys");
    let kinds = schema["$defs"].as_object().expect("kinds");
    let mut page = Page { kinds, told: BTreeMap::new(), out: String::new() };
    for (key, node) in schema["properties"].as_object().expect("keys") {
        page.section(key, node);
    }
    format!("{head}{}{tail}", page.out)
}

impl<'a> Page<'a> {
    fn section(&mut self, key: &str, node: &'a Value) {
        let _ = writeln!(self.out, ".Ss {}", mdoc::argument(key));
        self.key(node);
        let outer = std::mem::take(&mut self.out);
        self.inner(key, node);
        let items = std::mem::replace(&mut self.out, outer);
        if !items.is_empty() {
            let _ = write!(self.out, ".Bl -tag -width Ds\n{items}.El\n");
        }
    }

    /// What one key means, what is written there, and what holds without it.
    fn key(&mut self, node: &'a Value) {
        let description = words(node).or_else(|| words(self.followed(node))).unwrap_or_default();
        for paragraph in description.split("\n\n") {
            self.out.push_str(&mdoc::text(paragraph));
        }
        let kind = self.kind(node);
        self.out.push_str(&mdoc::text(&format!("{}.", capital(&kind))));
        let told_already = description.contains("Default:");
        if let Some(default) = node.get("default").filter(|_| !told_already).and_then(literal) {
            let _ = writeln!(self.out, "Default: {}.", mdoc::code(&default));
        }
        self.choices(node);
    }

    /// The words that may be written, where each means something of its own.
    fn choices(&mut self, node: &'a Value) {
        let meant: Vec<_> = self.constants(node);
        if meant.len() < 2 {
            return;
        }
        self.out.push_str(".Bl -tag -width Ds -compact\n");
        for (word, meaning) in meant {
            let _ = write!(self.out, ".It Cm {}\n{}", mdoc::argument(&word), mdoc::text(&meaning));
        }
        self.out.push_str(".El\n");
    }

    fn constants(&self, node: &'a Value) -> Vec<(String, String)> {
        let node = self.followed(node);
        let constant = |one: &Value| {
            let word = literal(one.get("const")?)?;
            Some((word, words(one)?.to_owned()))
        };
        let own = list(node, "oneOf").filter_map(constant);
        own.chain(list(node, "anyOf").flat_map(|one| self.constants(one))).collect()
    }

    /// The keys below `path`.
    fn inner(&mut self, path: &str, node: &'a Value) {
        if let Some(kind) = reference(node) {
            let has_keys = self.kinds[kind].get("properties").is_some();
            if let Some(place) = self.told.get(kind).filter(|_| has_keys) {
                let same = format!("Its keys are those of `{place}`.");
                let _ = write!(self.out, ".It Cm {}.*\n{}", mdoc::argument(path), mdoc::text(&same));
                return;
            }
            if has_keys {
                self.told.insert(kind.to_owned(), path.to_owned());
            }
            return self.inner(path, &self.kinds[kind]);
        }
        for one in list(node, "anyOf").chain(list(node, "oneOf")) {
            self.inner(path, one);
        }
        if let Some(items) = node.get("items") {
            self.inner(&format!("{path}[]"), items);
        }
        if let Some(named) = node.get("additionalProperties").filter(|value| value.is_object()) {
            self.inner(&format!("{path}.NAME"), named);
        }
        for (key, node) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            let _ = writeln!(self.out, ".It Cm {}", mdoc::argument(&path));
            self.key(node);
            self.inner(&path, node);
        }
    }

    fn followed(&self, node: &'a Value) -> &'a Value {
        reference(node).map_or(node, |kind| self.followed(&self.kinds[kind]))
    }

    /// What is written as a value.
    fn kind(&self, node: &'a Value) -> String {
        let node = self.followed(node);
        let simple = simple(node);
        if node.get("properties").is_some() {
            return "a map of the keys below".to_owned();
        }
        if let Some(items) = node.get("items") {
            return format!("a list; each: {}", self.kind(items));
        }
        if let Some(named) = node.get("additionalProperties").filter(|value| value.is_object()) {
            return format!("a map of names; for each: {}", self.kind(named));
        }
        let constants: Vec<_> = list(node, "oneOf").filter_map(|one| literal(one.get("const")?)).collect();
        if !constants.is_empty() {
            return constants.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        }
        let mut alternatives: Vec<String> = Vec::new();
        for one in list(node, "anyOf").filter(|one| one["type"] != "null") {
            let kind = self.kind(one);
            if !alternatives.contains(&kind) {
                alternatives.push(kind);
            }
        }
        match (alternatives.is_empty(), simple) {
            (false, _) => alternatives.join("; or "),
            (true, Some("boolean")) => "`true` or `false`".to_owned(),
            (true, Some("integer")) => words(node).unwrap_or("a whole number").to_owned(),
            (true, Some("object")) | (true, None) => "a map".to_owned(),
            (true, _) => words(node).unwrap_or("a text").to_owned(),
        }
    }
}

/// The one type that is not "null".
fn simple(node: &Value) -> Option<&str> {
    let kind = node.get("type")?;
    kind.as_str().or_else(|| list(node, "type").filter_map(Value::as_str).find(|one| *one != "null"))
}

fn words(node: &Value) -> Option<&str> {
    node.get("description").and_then(Value::as_str)
}

fn reference(node: &Value) -> Option<&str> {
    node.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
}

fn list<'a>(node: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    node.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A default as a user writes it; `None` for what says nothing: null, maps, empty lists.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => Some(word.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<_>> = items.iter().map(literal).collect();
            Some(format!("[ {} ]", items?.join(", ")))
        }
        _ => None,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
