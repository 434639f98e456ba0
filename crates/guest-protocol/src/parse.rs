//! Control messages to and from the payload of their frame.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::frame::{HEADER_LEN, Header, Kind, MAX_CONTROL};
use crate::{AgentMessage, HostMessage};

/// A control message that must not be.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// What a peer sent is no message of this version.
    #[error("not a message of this protocol")]
    Malformed(#[source] serde_json::Error),
    /// A message of ours does not fit into a frame.
    #[error("message of {len} bytes, at most {MAX_CONTROL} fit into a frame")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

impl AgentMessage {
    /// Reads the payload of a control frame. Unknown types and unknown fields are errors.
    ///
    /// # Errors
    /// [`MessageError::Malformed`]
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let message = parse(payload)?;
        if message == AgentMessage::Ready {
            parse::<TypeOnly>(payload)?;
        }
        Ok(message)
    }

    /// The whole frame: header and payload.
    ///
    /// # Errors
    /// [`MessageError::TooLong`]
    pub fn to_frame(&self) -> Result<Vec<u8>, MessageError> {
        frame(serde_json::to_vec(self))
    }
}

impl HostMessage {
    /// Reads the payload of a control frame. Unknown types and unknown fields are errors.
    ///
    /// # Errors
    /// [`MessageError::Malformed`]
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let message = parse(payload)?;
        if matches!(message, HostMessage::Welcome | HostMessage::Shutdown) {
            parse::<TypeOnly>(payload)?;
        }
        Ok(message)
    }

    /// The whole frame: header and payload.
    ///
    /// # Errors
    /// [`MessageError::TooLong`]: only an [`ExecRequest`](crate::ExecRequest) can be.
    pub fn to_frame(&self) -> Result<Vec<u8>, MessageError> {
        frame(serde_json::to_vec(self))
    }
}

/// serde lets a variant without fields carry any: this does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeOnly {
    #[serde(rename = "type")]
    _type: String,
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, MessageError> {
    serde_json::from_slice(payload).map_err(MessageError::Malformed)
}

fn frame(json: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, MessageError> {
    let json = json.map_err(MessageError::Malformed)?;
    if json.len() > MAX_CONTROL {
        return Err(MessageError::TooLong { len: json.len() });
    }
    let mut frame = Vec::with_capacity(HEADER_LEN + json.len());
    frame.extend_from_slice(&Header { kind: Kind::Control, len: json.len() }.encode());
    frame.extend_from_slice(&json);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecRequest, User};

    fn from_host(json: &str, good: bool) {
        assert_eq!(HostMessage::parse(json.as_bytes()).is_ok(), good, "{json}");
    }

    fn from_agent(json: &str, good: bool) {
        assert_eq!(AgentMessage::parse(json.as_bytes()).is_ok(), good, "{json}");
    }

    #[test]
    fn unknown_types_and_fields_are_refused() {
        from_host(r#"{"type":"welcome"}"#, true);
        from_host(r#"{"type":"welcome","x":1}"#, false);
        from_host(r#"{"type":"shutdown","x":1}"#, false);
        from_host(r#"{"type":"signal","id":1,"signal":15}"#, true);
        from_host(r#"{"type":"signal","id":1,"signal":15,"x":1}"#, false);
        from_host(r#"{"type":"signal","id":1}"#, false);
        from_host(r#"{"type":"signal","id":-1,"signal":15}"#, false);
        from_host(r#"{"type":"resize","id":1,"size":{"rows":1,"cols":2,"x":3}}"#, false);
        from_host(r#"{"type":"other"}"#, false);
        from_host(r#"{"type":"welcome"} {}"#, false);
        from_host("", false);
        from_host("[", false);
        from_agent(r#"{"type":"ready"}"#, true);
        from_agent(r#"{"type":"ready","x":1}"#, false);
        from_agent(r#"{"type":"exited","id":1,"status":{"kind":"code","code":0}}"#, true);
        from_agent(r#"{"type":"exited","id":1,"status":{"kind":"code","code":256}}"#, false);
        from_agent(r#"{"type":"exited","id":1,"status":{"kind":"code","code":0,"x":1}}"#, false);
        from_agent(r#"{"type":"hello","version":1,"token":"x","session":0}"#, false);
    }

    #[test]
    fn unknown_fields_of_an_exec_request_are_refused() {
        let request = ExecRequest {
            id: 1,
            argv: vec!["true".to_owned()],
            env: Vec::new(),
            workdir: String::new(),
            user: User::default(),
            stdin: false,
            tty: None,
        };
        let frame = HostMessage::Exec(request).to_frame().unwrap();
        let json = String::from_utf8(frame[HEADER_LEN..].to_vec()).unwrap();
        from_host(&json, true);
        from_host(&json.replacen('{', r#"{"x":1,"#, 1), false);
    }

    #[test]
    fn too_long_a_message_is_not_sent() {
        let message = "x".repeat(MAX_CONTROL);
        let sent = HostMessage::Refused { message }.to_frame();
        assert!(matches!(sent, Err(MessageError::TooLong { .. })));
    }
}
