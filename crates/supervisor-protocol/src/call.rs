//! What a supervisor is asked.

use std::path::PathBuf;

use microagent_machine::MachineSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Malformed, VERSION};

/// One request, without its envelope.
///
/// The operations are those of the contract. All but `probe` name a run directory, since
/// nothing else outlives a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", content = "args", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// What can be had here and now. Without side effects.
    Probe(NoArgs),
    /// Build a machine with its vCPUs held.
    Create(CreateArgs),
    /// Look for a machine that was made earlier.
    Open(DirArgs),
    /// Where it is in its life.
    State(DirArgs),
    /// Let the vCPUs of a created machine run.
    Start(DirArgs),
    /// Wait for its end.
    Wait(WaitArgs),
    /// End it at once.
    Kill(DirArgs),
    /// End it and remove every trace, the run directory included.
    Destroy(DirArgs),
    /// What is in force for its processes.
    Isolation(DirArgs),
    /// Stop the vCPUs of a running machine.
    Pause(DirArgs),
    /// Let the vCPUs of a paused machine go on.
    Resume(DirArgs),
    /// What it has counted.
    Stats(DirArgs),
    /// Press its power button.
    PowerButton(DirArgs),
}

/// The operations by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`Call::Probe`].
    Probe,
    /// [`Call::Create`].
    Create,
    /// [`Call::Open`].
    Open,
    /// [`Call::State`].
    State,
    /// [`Call::Start`].
    Start,
    /// [`Call::Wait`].
    Wait,
    /// [`Call::Kill`].
    Kill,
    /// [`Call::Destroy`].
    Destroy,
    /// [`Call::Isolation`].
    Isolation,
    /// [`Call::Pause`].
    Pause,
    /// [`Call::Resume`].
    Resume,
    /// [`Call::Stats`].
    Stats,
    /// [`Call::PowerButton`].
    PowerButton,
}

/// Arguments of an operation that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}

/// Arguments of an operation on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirArgs {
    /// The machine's run directory, an absolute path.
    pub dir: PathBuf,
}

/// Arguments of [`Call::Create`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateArgs {
    /// The machine.
    pub spec: MachineSpec,
    /// Its run directory, an absolute path. It exists, and what is in it already stays.
    pub dir: PathBuf,
    /// How long it may live.
    pub lifetime: LifetimeArgs,
}

/// How long a machine may live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum LifetimeArgs {
    /// Until the life pipe ends, whose read end is descriptor 3. Then its processes end, and
    /// its run directory and what is to be removed go with them.
    Attached {
        /// Files and directories outside the run directory, absolute paths.
        remove: Vec<PathBuf>,
    },
    /// Until `destroy`.
    Detached,
}

/// Arguments of [`Call::Wait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitArgs {
    /// The machine's run directory, an absolute path.
    pub dir: PathBuf,
    /// For how long, in milliseconds, at most 60000.
    #[schemars(range(max = 60_000))]
    pub within_ms: u64,
}

impl Op {
    /// The name as it stands in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Probe => "probe",
            Op::Create => "create",
            Op::Open => "open",
            Op::State => "state",
            Op::Start => "start",
            Op::Wait => "wait",
            Op::Kill => "kill",
            Op::Destroy => "destroy",
            Op::Isolation => "isolation",
            Op::Pause => "pause",
            Op::Resume => "resume",
            Op::Stats => "stats",
            Op::PowerButton => "power_button",
        }
    }
}

/// A request as it is written.
#[derive(Serialize)]
struct Written<'a> {
    protocol: u32,
    #[serde(flatten)]
    call: &'a Call,
}

/// A request as it is read: what is in it beside these is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "protocol")]
    _protocol: u32,
    op: Value,
    args: Value,
}

impl Call {
    /// Which operation it is.
    pub const fn op(&self) -> Op {
        match self {
            Call::Probe(_) => Op::Probe,
            Call::Create(_) => Op::Create,
            Call::Open(_) => Op::Open,
            Call::State(_) => Op::State,
            Call::Start(_) => Op::Start,
            Call::Wait(_) => Op::Wait,
            Call::Kill(_) => Op::Kill,
            Call::Destroy(_) => Op::Destroy,
            Call::Isolation(_) => Op::Isolation,
            Call::Pause(_) => Op::Pause,
            Call::Resume(_) => Op::Resume,
            Call::Stats(_) => Op::Stats,
            Call::PowerButton(_) => Op::PowerButton,
        }
    }

    /// The whole request as JSON.
    ///
    /// # Errors
    /// For a path that is not UTF-8.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        Ok(serde_json::to_vec(&Written { protocol: VERSION, call: self })?)
    }

    /// Reads a whole request.
    ///
    /// # Errors
    /// [`Malformed`]: the version is looked at first, so that a later one is called that.
    pub fn decode(text: &[u8]) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_slice(text)?;
        check_version(&value)?;
        let Envelope { _protocol, op, args } = serde_json::from_value(value)?;
        let call = Value::from_iter([("op", op), ("args", args)]);
        Ok(serde_json::from_value(call)?)
    }
}

/// Whether the envelope says this version.
pub(crate) fn check_version(envelope: &Value) -> Result<(), Malformed> {
    match envelope.get("protocol") {
        Some(version) if *version == VERSION => Ok(()),
        Some(version) => Err(Malformed::Version { got: version.to_string() }),
        None => Err(Malformed::Version { got: "none".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Call, String> {
        Call::decode(text.as_bytes()).map_err(|e| match std::error::Error::source(&e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        })
    }

    fn check(text: &str, says: &str) {
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = PathBuf::from("/run/m");
        let calls = [
            Call::Probe(NoArgs {}),
            Call::Wait(WaitArgs { dir: dir.clone(), within_ms: 7 }),
            Call::Destroy(DirArgs { dir }),
        ];
        for call in calls {
            assert_eq!(Call::decode(&call.encode().unwrap()).unwrap(), call);
        }
    }

    #[test]
    fn a_request_looks_like_this() {
        let text = Call::State(DirArgs { dir: "/run/m".into() }).encode().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, r#"{"protocol":1,"op":"state","args":{"dir":"/run/m"}}"#);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        check("", "EOF");
        check("{\"protocol\":1,", "EOF");
        check("{} {}", "trailing characters");
        check("[]", "version none");
        check(r#"{"protocol":2,"op":"dance"}"#, "version 2, expected 1");
        check(r#"{"protocol":1,"op":"dance","args":{}}"#, "unknown variant `dance`");
        check(r#"{"protocol":1,"op":"probe"}"#, "args");
        check(r#"{"protocol":1,"op":"probe","args":{},"more":1}"#, "more");
        check(r#"{"protocol":1,"op":"probe","args":{"more":1}}"#, "more");
        check(r#"{"protocol":1,"op":"kill","args":{"dir":"/m","force":true}}"#, "force");
        check(r#"{"protocol":1,"op":"wait","args":{"dir":"/m","within_ms":-1}}"#, "-1");
    }

    #[test]
    fn names_are_those_on_the_wire() {
        let more = ["open", "state", "start", "kill", "destroy", "isolation", "pause", "resume"];
        for op in more.into_iter().chain(["stats", "power_button"]) {
            let text = format!(r#"{{"protocol":1,"op":"{op}","args":{{"dir":"/m"}}}}"#);
            assert_eq!(read(&text).unwrap().op().name(), op);
        }
    }
}
