//! What a supervisor answers.

use microagent_backend::{Error, ErrorKind, Exit, State};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::check_version;
use crate::{FileName, Malformed, VERSION};

/// One answer: what was asked for, or why it cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Answer<T> {
    /// It was done.
    #[schemars(extend("additionalProperties" = false))]
    Ok {
        /// The version of the protocol, 1.
        #[schemars(extend("const" = 1))]
        protocol: u32,
        /// What was asked for.
        ok: T,
    },
    /// It was not done.
    #[schemars(extend("additionalProperties" = false))]
    Err {
        /// The version of the protocol, 1.
        #[schemars(extend("const" = 1))]
        protocol: u32,
        /// Why.
        err: Refusal,
    },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What happened, in one line that names the thing and the value.
    pub message: String,
    /// What the user can do, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Answer to `start`, `kill`, `destroy`, `pause`, `resume` and `power_button`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {}

/// Answer to `create` and `open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineAnswer {
    /// The beginning of what the guest writes to its console; `<console>.1` and
    /// `<console>.2` are the end of it, written in turn, where it is not kept whole.
    pub console: FileName,
    /// The host's socket of the vsock device. What the guest opens to port p of the host
    /// arrives at `<vsock>_<p>`.
    pub vsock: FileName,
    /// The optional operations that can be asked for.
    pub parts: Vec<Part>,
}

/// Optional operations of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// `pause` and `resume`, of a supervisor that declares the feature `pause`.
    Pause,
    /// `stats`.
    Stats,
    /// `power_button`.
    PowerButton,
}

/// Answer to `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateAnswer {
    /// Where the machine is in its life.
    pub state: State,
}

/// Answer to `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitAnswer {
    /// How the machine ended; `null` if it has not.
    pub exit: Option<Exit>,
}

impl<T: Serialize> Answer<T> {
    /// An answer from the result of what was asked.
    pub fn of(result: Result<T, Error>) -> Self {
        match result {
            Ok(ok) => Self::Ok { protocol: VERSION, ok },
            Err(error) => Self::Err { protocol: VERSION, err: error.into() },
        }
    }

    /// The whole answer as JSON.
    ///
    /// # Errors
    /// For a path that is not UTF-8.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// An answer as it is read: what is in it beside these is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "protocol")]
    _protocol: u32,
    ok: Option<Value>,
    err: Option<Refusal>,
}

/// Reads a whole answer to a request of which `T` comes back.
///
/// # Errors
/// [`Malformed`]; what the supervisor refused is no error here.
pub fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<Result<T, Refusal>, Malformed> {
    let value: Value = serde_json::from_slice(text)?;
    check_version(&value)?;
    match serde_json::from_value(value)? {
        Envelope { ok: Some(ok), err: None, .. } => Ok(Ok(serde_json::from_value(ok)?)),
        Envelope { ok: None, err: Some(err), .. } => Ok(Err(err)),
        _ => Err(Malformed::Neither),
    }
}

/// Sources are joined into the message: they do not cross a process boundary.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let mut message = error.message;
        let mut source = error.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { kind: error.kind, message, hint: error.hint }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self { kind: refusal.kind, message: refusal.message, hint: refusal.hint, source: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let got = match decode::<StateAnswer>(text.as_bytes()) {
            Ok(Ok(answer)) => format!("{:?}", answer.state),
            Ok(Err(refusal)) => format!("{} {}", refusal.kind.name(), refusal.message),
            Err(Malformed::Json(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        assert!(got.contains(expect), "{text}: {got}");
    }

    #[test]
    fn answers_are_results_errors_or_nothing() {
        check(r#"{"protocol":1,"ok":{"state":"paused"}}"#, "Paused");
        check(r#"{"protocol":1,"err":{"kind":"timeout","message":"late"}}"#, "timeout late");
        check(r#"{"protocol":1,"err":{"kind":"odd","message":"late"}}"#, "unknown variant `odd`");
        check(r#"{"protocol":1,"err":{"kind":"io","message":"","more":1}}"#, "more");
        check(r#"{"protocol":1,"ok":{"state":"paused","more":1}}"#, "more");
        check(r#"{"protocol":1,"ok":{"state":"paused"},"more":1}"#, "more");
        check(r#"{"protocol":1,"ok":{"state":"paused"}}{}"#, "trailing characters");
        check(r#"{"protocol":1,"ok":{"state":"paused""#, "EOF");
        check(r#"{"protocol":"1","ok":{"state":"paused"}}"#, "version \"1\", expected 1");
        check(r#"{"ok":{"state":"paused"}}"#, "version none");
        check(r#"{"protocol":1}"#, "either");
        check(r#"{"protocol":1,"ok":null}"#, "either");
        check(
            r#"{"protocol":1,"ok":{"state":"paused"},"err":{"kind":"io","message":""}}"#,
            "either",
        );
        check(&"[".repeat(100_000), "recursion limit");
    }

    #[test]
    fn a_refusal_carries_its_causes() {
        let source = std::io::Error::other("the disk is on fire");
        let refusal = Refusal::from(Error::io("open /d", source).with_hint("run"));
        assert_eq!(refusal.message, "cannot open /d: the disk is on fire");
        assert_eq!(Error::from(refusal).hint.as_deref(), Some("run"));
    }

    #[test]
    fn an_answer_looks_like_this() {
        let text = Answer::of(Ok(Done {})).encode().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"protocol":1,"ok":{}}"#);
    }
}
