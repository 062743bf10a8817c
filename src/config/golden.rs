//! Golden files: `tests/golden/config/NAME.yaml` and what is told of it in `NAME.out`; the schema of the file.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes the second and the third anew; a reader of the diff decides.

use std::path::{Path, PathBuf};

use crate::config::file::File;
use crate::config::{load, schema};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

/// All that is told of a text: the report, or the warnings.
fn told(text: &str, name: &str) -> String {
    match load(text, name) {
        Err(report) => report.render(false),
        Ok(loaded) => {
            let warnings: String =
                loaded.warnings.iter().map(|warning| warning.render(false) + "\n").collect();
            warnings + "ok\n"
        }
    }
}

#[test]
fn problems_are_told_as_agreed() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut seen = 0;
    let mut differing = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("golden folder") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("golden file");
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let told = told(&text, &name);
        let out = path.with_extension("out");
        if update {
            std::fs::write(&out, &told).expect("write golden file");
        } else if std::fs::read_to_string(&out).unwrap_or_default() != told {
            differing.push(format!("{name}:\n{told}"));
        }
    }
    assert!(seen >= 15, "only {seen} golden files");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_schema_is_that_of_the_types() {
    let mut value = schemars::schema_for!(File).to_value();
    unwrap_descriptions(&mut value);
    let made = format!("{value:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/schema.json");
        std::fs::write(path, made).expect("write the schema");
    } else {
        assert!(made == schema(), "src/config/schema.json is old: UPDATE_GOLDEN=1 cargo test writes it anew");
    }
}

/// Descriptions are doc comments, whose lines end where the source's do; editors wrap them as they like.
fn unwrap_descriptions(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(entries) => {
            if let Some(serde_json::Value::String(text)) = entries.get_mut("description") {
                *text = text.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n");
            }
            entries.values_mut().for_each(unwrap_descriptions);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(unwrap_descriptions),
        _ => {}
    }
}
