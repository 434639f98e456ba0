//! The schemas in `docs/schema` are those of the types, and say what the types say.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;

use microagent_supervisor_protocol::{VERSION, schemas};
use serde_json::Value;

/// Set to write the files anew instead of comparing with them.
const UPDATE: &str = "UPDATE_SCHEMAS";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schema/{name}.json"))
}

#[test]
fn the_files_are_those_of_the_types() {
    for (name, schema) in schemas() {
        let made = schema.to_value();
        if std::env::var_os(UPDATE).is_some() {
            fs::write(file(name), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let text = fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let there: Value = serde_json::from_str(&text).unwrap();
        assert!(
            there == made,
            "docs/schema/{name}.json is not what the types of protocol {VERSION} say. If the \
             protocol shall change, decide whether its version does, and set {UPDATE}=1"
        );
    }
}

#[test]
fn no_file_is_there_without_a_type() {
    let names: Vec<_> = schemas().iter().map(|(name, _)| format!("{name}.json")).collect();
    for entry in fs::read_dir(file("x").parent().unwrap()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "docs/schema/{name}");
    }
}

/// Objects everywhere say which fields they have, and that there are no others.
#[test]
fn no_object_is_open() {
    for (name, schema) in schemas() {
        closed(name, &schema.to_value());
    }
}

fn closed(place: &str, schema: &Value) {
    if let Some(fields) = schema.get("properties") {
        let none_else = schema.get("additionalProperties") == Some(&Value::Bool(false));
        // The standard library's own, which is closed by what reads it.
        let duration = fields.get("nanos").is_some();
        assert!(none_else || duration, "{place}: {schema}");
    }
    match schema {
        Value::Object(map) => map.iter().for_each(|(k, v)| closed(&format!("{place}.{k}"), v)),
        Value::Array(list) => list.iter().for_each(|v| closed(place, v)),
        _ => {}
    }
}
