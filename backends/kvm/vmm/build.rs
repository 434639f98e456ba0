//! Compiles the seccomp filters, so that neither the compiler nor its input is needed when
//! every microsecond counts.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;

/// The classes of processes and threads that have a filter.
const CLASSES: [&str; 8] = ["child", "guard", "gateway", "vsock", "net", "monitor", "vcpu", "io"];

fn main() -> Result<(), Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let out = env::var("OUT_DIR")?;
    let source = format!("seccomp/{arch}.json");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=seccomp");
    for class in CLASSES {
        let filter = match Path::new(&source).exists() {
            true => compile(&source, &arch, class)?,
            // No filter: said when the program runs.
            false => Vec::new(),
        };
        fs::write(Path::new(&out).join(format!("{class}.bpf")), filter)?;
    }
    Ok(())
}

fn compile(source: &str, arch: &str, class: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let filters = seccompiler::compile_from_json(File::open(source)?, arch.try_into()?)?;
    let filter = filters.get(class).ok_or_else(|| format!("{source} has no class {class}"))?;
    let bytes = filter.iter().flat_map(|instruction| {
        let mut bytes = [0; 8];
        bytes[0..2].copy_from_slice(&instruction.code.to_le_bytes());
        bytes[2] = instruction.jt;
        bytes[3] = instruction.jf;
        bytes[4..8].copy_from_slice(&instruction.k.to_le_bytes());
        bytes
    });
    Ok(bytes.collect())
}
