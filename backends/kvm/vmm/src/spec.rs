//! Reading a specification, from standard input or a file that was passed.

use std::io::{self, Read};

use microagent_vmm_protocol::{MAX_SPEC_LEN, VERSION};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why there is no specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("cannot read the specification")]
    Read(#[source] io::Error),
    #[error("the specification is longer than {MAX_SPEC_LEN} bytes")]
    TooLong,
    #[error("the specification is not what this version reads")]
    Malformed(#[source] serde_json::Error),
    #[error("the specification has version {0}, this is microagent-vmm for version {VERSION}")]
    Version(u32),
}

/// Longer than specifications are, in bytes.
const USUAL_LEN: usize = 4 << 10;

/// Reads a specification to the end of `input`.
pub(crate) fn read<T: DeserializeOwned>(input: impl Read) -> Result<T, SpecError> {
    // What is usual fits, so that it is read at once.
    let mut text = Vec::with_capacity(USUAL_LEN);
    input.take(MAX_SPEC_LEN + 1).read_to_end(&mut text).map_err(SpecError::Read)?;
    if text.len() as u64 > MAX_SPEC_LEN {
        return Err(SpecError::TooLong);
    }
    // The version first: another version's fields may well be unknown here, and then it is
    // the version that is worth naming.
    let Versioned { version } = serde_json::from_slice(&text).map_err(SpecError::Malformed)?;
    if version != VERSION {
        return Err(SpecError::Version(version));
    }
    serde_json::from_slice(&text).map_err(SpecError::Malformed)
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Spec {
        version: u32,
        name: String,
    }

    #[test]
    fn what_is_refused() {
        let check = |text: &str, expect: &str| {
            let got = read::<Spec>(text.as_bytes()).map_or_else(|e| e.to_string(), |s| s.name);
            assert!(got.contains(expect), "{text}: {got}");
        };
        check(r#"{"version":1,"name":"n"}"#, "n");
        check(r#"{"version":1,"name":"n","more":1}"#, "not what this version reads");
        check(r#"{"version":2,"else":"n"}"#, "has version 2");
        check("", "not what this version reads");
        check(&" ".repeat(MAX_SPEC_LEN as usize + 1), "longer than");
    }
}
