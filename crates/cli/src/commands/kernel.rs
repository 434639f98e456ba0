//! `kernel list|install|build|verify`.

use microagent_kernel::{BuildOptions, Catalogue, Kernel, KernelError, ListedKernel};
use microagent_workspace::RunError;
use serde_json::{Value, json};

use crate::args::{Global, KernelCommand};
use crate::failure::Failure;
use crate::output::{print, print_json, say, table};
use crate::tools;

pub(crate) fn run(command: KernelCommand, global: &Global) -> Result<u8, Failure> {
    let state = tools::state(global)?;
    let catalogue = Catalogue::new(state.kernels(), tools::shared_kernels());
    match command {
        KernelCommand::List => list(&catalogue, global),
        KernelCommand::Install { from, sha256 } => {
            installed(&catalogue.install(&from, sha256.as_deref()).map_err(failure)?, global);
        }
        KernelCommand::Build { source } => {
            let tell = |line: &str| {
                if !global.quiet && !global.json {
                    say(line);
                }
            };
            let kernel = catalogue.build(&BuildOptions { source }, tell).map_err(failure)?;
            installed(&kernel, global);
        }
        KernelCommand::Verify { path, sha256 } => {
            let report = catalogue.verify(path.as_deref(), sha256.as_deref()).map_err(failure)?;
            let verdict = if report.compared { "as recorded" } else { "nothing to compare with" };
            if global.json {
                let (path, sha256) = (&report.path, &report.sha256);
                print_json(&json!({ "path": path, "sha256": sha256, "verified": report.compared }));
            } else {
                print(&format!("{}  {}  {verdict}", report.sha256, report.path.display()));
            }
            // A sum that was compared with nothing is no verification.
            return Ok(u8::from(!report.compared));
        }
    }
    Ok(0)
}

fn failure(error: KernelError) -> Failure {
    Failure::from(RunError::from(error))
}

fn installed(kernel: &Kernel, global: &Global) {
    if global.json {
        print_json(&json!({ "path": kernel.path, "sha256": kernel.sha256 }));
    } else {
        print(&kernel.path.display().to_string());
    }
}

fn list(catalogue: &Catalogue, global: &Global) {
    let kernels = catalogue.list();
    if global.json {
        return print_json(&json!({ "kernels": kernels.iter().map(object).collect::<Vec<_>>() }));
    }
    let rows = kernels.iter().map(row).collect();
    print(&table(&["PATH", "LINUX", "FORMAT", "SHA256"], rows));
}

fn object(kernel: &ListedKernel) -> Value {
    match &kernel.manifest {
        Ok(manifest) => json!({ "path": kernel.path, "manifest": manifest }),
        Err(e) => json!({ "path": kernel.path, "error": crate::failure::chain(e) }),
    }
}

fn row(kernel: &ListedKernel) -> Vec<String> {
    let path = kernel.path.display().to_string();
    match &kernel.manifest {
        Ok(manifest) => vec![
            path,
            manifest.linux.clone().unwrap_or_else(|| "?".into()),
            format!("{:?}", manifest.format).to_lowercase(),
            manifest.sha256.chars().take(12).collect(),
        ],
        Err(e) => vec![path, crate::failure::chain(e)],
    }
}
