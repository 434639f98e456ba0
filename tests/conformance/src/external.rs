//! Backends in their other forms: executables and plugins that speak the supervisor protocol.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::{Backend, Error, ErrorKind, Result};
use microagent_conformance::{Case, Tier};
use microagent_fake::FakeBackend;
use microagent_supervisor::{ExecutableBackend, PluginHost};

use crate::unconnected::Unconnected;
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

/// What runs the example.
const PYTHON: &str = "python3";

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
        let backend = of.backend.and_then(|_| connected((self.connect)(self.of)));
        Some(Wired { name: self.name, backend, ..of })
    }
}

/// A supervisor executable with the fault of its own that `faulty-supervisor` knows by this
/// name; `program` is where that is.
pub fn faulty(program: &Path, fault: &str) -> Wired {
    let backend = connected(connect(program, vec![fault.into()]));
    Wired { backend, ..Wired::fake(Arc::new(FakeBackend::new())) }
}

/// What was connected to, or why it cannot be had here. That it does not keep to the protocol
/// is no such reason.
fn connected(backend: Result<ExecutableBackend>) -> std::result::Result<Arc<dyn Backend>, String> {
    match backend {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(e) if e.kind == ErrorKind::Unavailable => Err(e.to_string()),
        Err(e) => Ok(Arc::new(Unconnected::new(&e))),
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
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|dir| dir.join(PYTHON).is_file()) {
        return Err(Error::new(ErrorKind::Unavailable, format!("there is no {PYTHON}")));
    }
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
    let runtime = runtime().map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    runtime.block_on(connecting)
}
