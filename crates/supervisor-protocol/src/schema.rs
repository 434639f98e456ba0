//! JSON schemas of the protocol, made from its types.

use microagent_backend::{Capabilities, Isolation, MachineStats};
use schemars::{JsonSchema, Schema, SchemaGenerator, schema_for};
use serde_json::{Value, json};

use crate::{Answer, Call, Done, MachineAnswer, StateAnswer, VERSION, WaitAnswer};

/// Every schema with the name of its file: requests, and the answers by what was asked.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("request", schema_for!(Request)),
        ("answer-probe", schema_for!(Answer<Capabilities>)),
        ("answer-machine", schema_for!(Answer<MachineAnswer>)),
        ("answer-state", schema_for!(Answer<StateAnswer>)),
        ("answer-wait", schema_for!(Answer<WaitAnswer>)),
        ("answer-isolation", schema_for!(Answer<Isolation>)),
        ("answer-stats", schema_for!(Answer<MachineStats>)),
        ("answer-done", schema_for!(Answer<Done>)),
    ]
}

/// A call in its envelope, which exists as a type only here.
struct Request;

impl JsonSchema for Request {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Request".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Call::json_schema(generator);
        let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
        for variant in variants.into_iter().flatten() {
            if let Some(properties) = variant["properties"].as_object_mut() {
                properties.insert("protocol".into(), json!({ "const": VERSION }));
            }
            if let Some(required) = variant["required"].as_array_mut() {
                required.insert(0, "protocol".into());
            }
        }
        schema
    }
}
