//! The delivered examples, and what must hold for every text that loads: it survives `check --expand`.
//! And for every text at all: it is answered, never with a panic.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use crate::config::{load, schema};

const EXAMPLES: [(&str, &str); 6] = [
    ("minimal.yaml", include_str!("../../config/minimal.yaml")),
    ("full.yaml", include_str!("../../config/full.yaml")),
    ("openbsd-relayd-user.yaml", include_str!("../../config/openbsd-relayd-user.yaml")),
    ("two-homeservers.yaml", include_str!("../../config/two-homeservers.yaml")),
    ("calls.yaml", include_str!("../../config/calls.yaml")),
    ("dev.yaml", include_str!("../../config/dev.yaml")),
];

#[test]
fn examples_load_without_a_warning() {
    for (name, text) in EXAMPLES {
        let loaded = load(text, name).unwrap_or_else(|report| panic!("{}", report.render(false)));
        let told: Vec<String> = loaded.warnings.iter().map(|warning| warning.render(false)).collect();
        assert!(told.is_empty(), "{}", told.concat());
    }
}

#[test]
fn every_example_is_in_the_folder_and_here() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_full_example_names_every_key() {
    let schema: Value = serde_json::from_str(schema()).expect("schema");
    let full: Value = serde_yaml::from_str(EXAMPLES[1].1).expect("full.yaml");
    let mut walk = Walk { root: &schema, known: BTreeMap::new(), seen: BTreeMap::new() };
    walk.value("the file", &schema, &full);
    for (object, keys) in &walk.known {
        let missing: Vec<_> = keys.difference(&walk.seen[object]).collect();
        assert!(missing.is_empty(), "{object}: full.yaml does not name {missing:?}");
    }
    assert!(walk.known.len() > 20, "the walk found only {:?}", walk.known.keys());
}

/// Walks a schema along a value: which keys there are for each object, and which were written.
struct Walk<'a> {
    root: &'a Value,
    known: BTreeMap<String, BTreeSet<String>>,
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, name: &str, schema: &'a Value, value: &Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = &self.root["$defs"][reference.trim_start_matches("#/$defs/")];
            return self.value(reference, target, value);
        }
        for other in schema["anyOf"].as_array().into_iter().flatten() {
            self.value(name, other, value);
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(name, &schema["items"], item)),
            Value::Object(entries) => self.object(name, schema, entries),
            _ => {}
        }
    }

    fn object(&mut self, name: &str, schema: &'a Value, entries: &serde_json::Map<String, Value>) {
        if schema["additionalProperties"].is_object() {
            for value in entries.values() {
                self.value(name, &schema["additionalProperties"], value);
            }
        }
        let Some(properties) = schema["properties"].as_object() else { return };
        self.known.entry(name.to_owned()).or_default().extend(properties.keys().cloned());
        self.seen.entry(name.to_owned()).or_default().extend(entries.keys().cloned());
        for (key, value) in entries {
            self.value(&format!("{name}.{key}"), &properties[key], value);
        }
    }
}

#[test]
fn every_key_is_described_in_the_schema() {
    fn undescribed(schema: &Value, found: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                found.push(key.clone());
            }
        }
        match schema {
            Value::Object(entries) => entries.values().for_each(|value| undescribed(value, found)),
            Value::Array(items) => items.iter().for_each(|value| undescribed(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    undescribed(&serde_json::from_str(schema()).expect("schema"), &mut found);
    assert!(found.is_empty(), "without a description: {found:?}");
}

/// What `check --expand` prints means the same, and is expanded already.
fn survives_expanding(text: &str, name: &str) -> Result<(), String> {
    let Ok(loaded) = load(text, name) else { return Ok(()) };
    let again = load(&loaded.expanded, name).map_err(|report| report.render(false) + &loaded.expanded)?;
    if again.config != loaded.config {
        return Err(format!("another configuration:\n{:#?}\n{:#?}", loaded.config, again.config));
    }
    if again.expanded != loaded.expanded { Err(again.expanded) } else { Ok(()) }
}

#[test]
fn examples_survive_expanding() {
    for (name, text) in EXAMPLES {
        survives_expanding(text, name).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

/// Text as slips and malice make it: pieces of an example put together anew.
fn mutated() -> impl Strategy<Value = String> {
    let example = prop::sample::select(EXAMPLES.map(|(_, text)| text.to_owned()).to_vec());
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, "[ -~\\n\\tü]{0,12}");
    (example, prop::collection::vec(change, 1..6)).prop_map(|(text, changes)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (from, to, kind, written) in changes {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            match kind {
                0 => drop(lines.remove(from)),
                1 => lines.insert(to, lines[from].clone()),
                2 => lines.swap(from, to),
                3 => lines[from] = lines[from].replacen(' ', &written, 2),
                4 => lines[from].push_str(&written),
                _ => {
                    let half = lines[from].chars().count() / 2;
                    lines[from] = lines[from].chars().skip(half).collect();
                }
            }
            lines.push(String::new());
        }
        lines.join("\n")
    })
}

fn answered(text: &str) {
    match load(text, "fuzz.yaml") {
        Err(report) => {
            assert!(!report.problems.is_empty());
            report.render(false);
            report.render(true);
            let _ = report.to_string();
        }
        Ok(loaded) => loaded.warnings.iter().for_each(|warning| drop(warning.render(false))),
    }
}

#[test]
fn a_file_full_of_mistakes_is_answered_in_time() {
    let text: String = (0..500).map(|number| format!("key{number}: {{ a: 1, a: 2 }}\n")).collect();
    let report = load(&text, "t").expect_err("mistakes");
    assert_eq!(report.problems.len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mutated_examples_are_answered(text in mutated()) {
        answered(&text);
    }

    #[test]
    fn mutated_examples_that_load_survive_expanding(text in mutated()) {
        prop_assert_eq!(survives_expanding(&text, "fuzz.yaml"), Ok(()));
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,80}") {
        answered(&text);
    }

    #[test]
    fn any_bytes_that_are_text_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        answered(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_of_any_shape_is_answered(text in "(matrix|sites|listeners|tls|log): ?[\\[{]?[ a-z0-9:,&*!|>'\"{}\\[\\]\\n-]{0,60}") {
        answered(&text);
    }
}
