//! Sizes and durations as users write them.

use std::time::Duration;

use microagent_machine::MiB;

use crate::failure::Failure;

/// Memory: a number of MiB, or with a suffix K, M or G, always binary. `iB` and `B` may
/// follow a suffix.
pub(crate) fn memory(text: &str) -> Result<MiB, Failure> {
    let bad = |why: &str| {
        Failure::usage(format!("--memory '{text}' {why}"))
            .with_hint("give MiB, or a number with a suffix K, M or G, such as 2G")
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| bad("is no size"))?;
    let suffix = text[digits.len()..].to_ascii_lowercase();
    let unit = suffix.strip_suffix("ib").or(suffix.strip_suffix('b')).unwrap_or(&suffix);
    let kib = match (unit, suffix.is_empty()) {
        ("", true) | ("m", _) => number.checked_mul(1 << 10),
        ("k", _) => Some(number),
        ("g", _) => number.checked_mul(1 << 20),
        _ => return Err(bad("has an unknown suffix")),
    };
    let mib = kib.map(|kib| kib >> 10).and_then(|mib| u32::try_from(mib).ok());
    let mib = MiB(mib.ok_or_else(|| bad("is too large"))?);
    let least = microagent_workspace::LEAST_MEMORY;
    if mib < least {
        return Err(bad(&format!("is too little, at least {least} are needed")));
    }
    Ok(mib)
}

/// Longest `--timeout`: a year.
const MAX_TIMEOUT: f64 = 365.0 * 86400.0;

/// A number of seconds greater than zero, whole or with a fraction.
pub(crate) fn timeout(text: &str) -> Result<Duration, Failure> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_TIMEOUT => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(Failure::usage(format!("--timeout '{text}' must be a number of seconds"))
            .with_hint("greater than 0 and at most a year, such as 30 or 0.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_memory(text: &str, expect: Option<u32>) {
        assert_eq!(memory(text).ok(), expect.map(MiB), "{text}");
    }

    #[test]
    fn suffixes_are_binary() {
        check_memory("512", Some(512));
        check_memory("512M", Some(512));
        check_memory("512MiB", Some(512));
        check_memory("1g", Some(1024));
        check_memory("262144K", Some(256));
        check_memory("", None);
        check_memory("M", None);
        check_memory("1T", None);
        check_memory("B", None);
        check_memory("512B", None);
        check_memory("-5", None);
        check_memory("63", None);
        check_memory("99999999999999G", None);
    }

    #[test]
    fn timeouts_are_positive() {
        assert_eq!(timeout("1.5").ok(), Some(Duration::from_millis(1500)));
        for text in ["0", "-1", "inf", "NaN", "x", "1e300"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
