//! Guests of the fake backend: words of its kernel's arguments.

use std::fs;
use std::path::Path;

use microagent_conformance::{End, Failure, Guests, Script, Step};
use microagent_machine::{Boot, DeviceArguments, KernelFormat};

/// Guests of the fake backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeGuests;

impl Guests for FakeGuests {
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure> {
        let (kernel, initramfs) = (dir.join("fake-kernel"), dir.join("fake-initramfs"));
        fs::write(&kernel, "never run")?;
        fs::write(&initramfs, "never read")?;
        let words = script.steps.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let cmdline = format!("{} {}", words.join(" "), end(script.end));
        let (format, device_arguments) = (KernelFormat::Vmlinux, DeviceArguments::Unknown);
        Ok(Boot { kernel, format, initramfs, cmdline, device_arguments })
    }
}

fn word(step: &Step) -> Result<String, Failure> {
    match step {
        Step::Say(word) => Ok(format!("fake.say={word}")),
        Step::Ticks(count) => Ok(format!("fake.ticks={count}")),
        Step::Write { disk, text } => Ok(format!("fake.write={disk}:{text}")),
        Step::Read { disk } => Ok(format!("fake.read={disk}")),
        other => Err(Failure::Unavailable(format!("fake guests cannot {other:?}"))),
    }
}

fn end(end: End) -> &'static str {
    match end {
        End::Never => "",
        End::PowerOff => "fake.exit=poweroff",
        End::Reset => "fake.exit=reset",
        End::Panic => "fake.exit=panic",
    }
}
