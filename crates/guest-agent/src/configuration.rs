//! Reads this run's configuration, and removes it.

use std::fs;

use microagent_guest_protocol::{AgentConfig, CONFIG_PATH, VERSION};

use crate::failure::SetupError;

/// Reads the configuration and deletes its file at once: the token must not be in a file
/// when the first command runs.
pub(crate) fn take() -> Result<AgentConfig, SetupError> {
    let read = fs::read(CONFIG_PATH);
    let json = read.map_err(|error| SetupError::NoConfiguration { path: CONFIG_PATH, error })?;
    fs::remove_file(CONFIG_PATH).map_err(SetupError::path("remove", CONFIG_PATH))?;
    parse(&json)
}

fn parse(json: &[u8]) -> Result<AgentConfig, SetupError> {
    let config: AgentConfig = match serde_json::from_slice(json) {
        Ok(config) => config,
        // Another version may have other fields: its number says more than the field.
        Err(error) => return Err(version_error(json).unwrap_or(SetupError::Configuration(error))),
    };
    match config {
        AgentConfig { version, .. } if version != VERSION => {
            Err(SetupError::ConfigurationVersion { found: version.into() })
        }
        config => Ok(config),
    }
}

fn version_error(json: &[u8]) -> Option<SetupError> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let found = value.get("version")?.as_u64()?;
    (found != u64::from(VERSION)).then_some(SetupError::ConfigurationVersion { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version":1,"token":"00000000000000000000000000000000","port":1024,
        "on_disconnect":"power_off","power_off":"reset","hostname":"g",
        "root":{"kind":"plain","disk":"root","grow":false},"mounts":[],
        "loopback_ports":[]}"#;

    fn check(from: &str, to: &str, expect: &str) {
        let text = match parse(GOOD.replacen(from, to, 1).as_bytes()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(text.starts_with(expect) && text.is_empty() == expect.is_empty(), "{text}");
    }

    #[test]
    fn other_versions_are_named_and_unknown_fields_refused() {
        check("", "", "");
        check("\"version\":1", "\"version\":2", "configuration of version 2, this agent has");
        check("{\"version\":1", "{\"new\":1,\"version\":7", "configuration of version 7, this");
        check("{\"version\":1", "{\"new\":1,\"version\":1", "configuration: unknown field `new`");
        check("\"power_off\"", "\"reconnect\"", "");
        check("{", "", "configuration: ");
    }
}
