//! Backends in their other forms: executables and plugins that speak the supervisor protocol.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::{Backend, Result};
use microagent_conformance::{Case, Tier};
use microagent_fake::FakeBackend;
use microagent_supervisor::{ExecutableBackend, PluginHost};

use crate::wired::Wired;
use crate::{qemu, runtime};

/// First argument of a process that serves the backend which the second names.
pub const SERVE: &str = "supervise-backend";
/// First argument of a process that loads the plugin which the second names.
pub const LOAD: &str = "supervise-plugin";

/// How long it may take to be told what a supervisor can do: a probe on a busy host.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// The case of tier 1 that stands for those that need a guest.
const WITH_GUEST: &str = "a_guest_that_resets_boots_once";

/// What says where a backend's programs are.
const PASSED: [&str; 2] = ["MICROAGENT_LIBEXEC", "PATH"];

const FAKE: &str = "fake";
const QEMU: &str = "qemu_tcg";

/// Where `microagent-fake-supervisor`, a dependency of this package, is built as a plugin.
const PLUGIN: &str = "libmicroagent_fake_plugin.so";

/// A backend in another form.
#[derive(Clone, Copy)]
pub struct External {
    /// Its name in test names.
    pub name: &'static str,
    /// The name of the backend that it is made of, whose guests it runs.
    of: &'static str,
    connect: fn(&'static str) -> Result<ExecutableBackend>,
    guest: bool,
}

/// Every other form of a backend.
pub fn external() -> Vec<External> {
    let one = |name, of, connect, guest| External { name, of, connect, guest };
    vec![
        one("fake_executable", FAKE, executable, true),
        one("fake_plugin", FAKE, plugin, false),
        one("example_python", FAKE, example, false),
        one("qemu_executable", QEMU, executable, true),
    ]
}

/// The backend that [`SERVE`] calls so. Others are not looked for: this is done for each
/// operation.
pub fn served(name: &str) -> Option<Wired> {
    match name {
        FAKE => Some(Wired::fake(Arc::new(FakeBackend::new()))),
        QEMU => qemu::wired().into_iter().find(|wired| wired.name == QEMU),
        _ => None,
    }
}

impl External {
    /// Whether a case judges this form: the contract, and for some one case with a guest.
    pub fn is_judged_by(&self, case: &Case) -> bool {
        case.tier == Tier::T0 || (self.guest && case.name == WITH_GUEST)
    }

    /// Connects to it.
    pub fn wired(&self) -> Option<Wired> {
        let of = served(self.of)?;
        let backend = of.backend.and_then(|_| {
            let backend = (self.connect)(self.of).map_err(|e| e.to_string())?;
            Ok(Arc::new(backend) as Arc<dyn Backend>)
        });
        Some(Wired { name: self.name, backend, ..of })
    }
}

/// This program, told to serve a backend. Its environment is clean, so what a backend is
/// found by goes through `env`.
fn executable(of: &'static str) -> Result<ExecutableBackend> {
    let passed = PASSED.iter().filter_map(|name| {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(env::var_os(name)?);
        Some(variable)
    });
    let words = [program().into(), SERVE.into(), of.into()];
    connect(Path::new("/usr/bin/env"), passed.chain(words).collect())
}

fn plugin(_: &'static str) -> Result<ExecutableBackend> {
    let host = PluginHost { program: program(), arguments: vec![LOAD.into()] };
    let path = program().with_file_name(PLUGIN);
    block_on(ExecutableBackend::plugin(&host, &path, CONNECT_WITHIN))
}

fn example(_: &'static str) -> Result<ExecutableBackend> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    connect(&root.join("docs/examples/supervisor.py"), Vec::new())
}

fn program() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into())
}

fn connect(program: &Path, arguments: Vec<OsString>) -> Result<ExecutableBackend> {
    block_on(ExecutableBackend::executable(program, arguments, CONNECT_WITHIN))
}

fn block_on<T>(connecting: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime().map_err(|e| {
        microagent_backend::Error::new(microagent_backend::ErrorKind::Io, e.to_string())
    })?;
    runtime.block_on(connecting)
}
