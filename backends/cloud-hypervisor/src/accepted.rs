//! What Cloud Hypervisor made of what it was asked: it ignores fields that it does not know,
//! so each that was asked for must be found in its answer, with the value that was asked for.

use microagent_backend::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;

use crate::refusal::quoted;

/// Fails unless `got` holds all that was `asked` for; it may hold more.
///
/// # Errors
/// `Protocol` with the first field that differs, what was asked for and what it got.
pub(crate) fn accepted(asked: &impl Serialize, got: &Value) -> Result<()> {
    let asked = serde_json::to_value(asked)
        .map_err(|e| Error::new(ErrorKind::Io, "cannot say what is asked for").with_source(e))?;
    compare("config", &asked, Some(got))
}

fn compare(field: &str, asked: &Value, got: Option<&Value>) -> Result<()> {
    match (asked, got) {
        (Value::Object(asked), Some(Value::Object(got))) => {
            asked.iter().try_for_each(|(k, v)| compare(&format!("{field}.{k}"), v, got.get(k)))
        }
        (Value::Array(asked), Some(Value::Array(got))) if asked.len() == got.len() => {
            let pairs = asked.iter().zip(got).enumerate();
            pairs.into_iter().try_for_each(|(n, (asked, got))| {
                compare(&format!("{field}[{n}]"), asked, Some(got))
            })
        }
        (asked, Some(got)) if asked == got => Ok(()),
        (asked, got) => {
            let got = got.map_or("nothing".into(), |got| quoted(&got.to_string()));
            let message = format!(
                "cloud-hypervisor did not accept what it was asked for: {field}: asked for \
                 {asked}, got {got}"
            );
            let hint = "this version may not know it: give the path of another with --supervisor";
            Err(Error::new(ErrorKind::Protocol, message).with_hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::tests::asked;

    #[test]
    fn what_is_answered_may_be_more() {
        let mut got = serde_json::to_value(asked()).unwrap();
        got["pvpanic"] = false.into();
        got["cpus"]["max_phys_bits"] = 46.into();
        got["disks"][1]["direct"] = false.into();
        accepted(&asked(), &got).unwrap();
    }

    #[test]
    fn what_differs_is_named() {
        let check = |change: &dyn Fn(&mut Value), expect: &str| {
            let mut got = serde_json::to_value(asked()).unwrap();
            change(&mut got);
            let error = accepted(&asked(), &got).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Protocol);
            let (_, what) = error.message.split_once("asked for: ").unwrap();
            assert_eq!(what, expect);
        };
        let remove = |got: &mut Value, field: &str| {
            got.as_object_mut().unwrap().remove(field);
        };
        check(
            &|c| *c = Value::Null,
            &format!("config: asked for {}, got null", { serde_json::to_value(asked()).unwrap() }),
        );
        check(
            &|c| c["cpus"]["boot_vcpus"] = 1.into(),
            "config.cpus.boot_vcpus: asked for 4, got 1",
        );
        check(
            &|c| remove(&mut c["disks"][1], "image_type"),
            "config.disks[1].image_type: asked for \"Raw\", got nothing",
        );
        check(
            &|c| c["disks"][0]["readonly"] = false.into(),
            "config.disks[0].readonly: asked for true, got false",
        );
        check(
            &|c| remove(c, "vsock"),
            "config.vsock: asked for {\"cid\":3,\"id\":\"vsock\",\"socket\":\"vsock\"}, got nothing",
        );
        check(
            &|c| c["serial"]["mode"] = "a\nb".into(),
            "config.serial.mode: asked for \"Tty\", got \"a\\nb\"",
        );
    }

    #[test]
    fn one_device_more_or_less_is_a_difference() {
        let mut got = serde_json::to_value(asked()).unwrap();
        got["disks"].as_array_mut().unwrap().pop();
        let error = accepted(&asked(), &got).unwrap_err();
        assert!(error.message.contains("config.disks: asked for [{"), "{error}");
        let mut got = serde_json::to_value(asked()).unwrap();
        let more = got["disks"][0].clone();
        got["disks"].as_array_mut().unwrap().push(more);
        accepted(&asked(), &got).unwrap_err();
    }
}
