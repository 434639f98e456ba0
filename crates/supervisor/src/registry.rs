//! The backends that a program was built with.

use microagent_backend::{Backend, Error, ErrorKind, Result};

use crate::{PluginHost, Selection};

/// How a backend is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// By its name, with the options after the colon, possibly none.
    Options(&'a str),
    /// For the hypervisor at this path, which was recognised by its version.
    Program(&'a std::path::Path),
}

/// Makes a backend. Unknown options are errors that list the known ones.
pub type Factory = Box<dyn Fn(Wanted<'_>) -> Result<Box<dyn Backend>> + Send + Sync>;

/// One backend that a program knows.
pub struct Entry {
    /// The name that users write.
    pub name: &'static str,
    /// Whether `auto` may take it.
    pub automatic: bool,
    /// Recognises its hypervisor by the first line of what `--version` prints.
    pub recognises: fn(&str) -> bool,
    /// Makes it; `None` for a name that is reserved and not built yet.
    pub make: Option<Factory>,
}

/// All backends that a program knows, in the order in which `auto` tries them.
pub struct Registry {
    entries: Vec<Entry>,
    plugin_host: Option<PluginHost>,
}

impl Registry {
    /// A registry of these, in this order.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries, plugin_host: None }
    }

    /// The same with plugins, which `host` loads.
    #[must_use]
    pub fn with_plugins(mut self, host: PluginHost) -> Self {
        self.plugin_host = Some(host);
        self
    }

    pub(crate) fn plugin_host(&self) -> Option<&PluginHost> {
        self.plugin_host.as_ref()
    }

    /// All entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds what is wrong with a selection without making anything: unknown names, unknown
    /// options, and paths to what is no supervisor.
    ///
    /// # Errors
    /// `Usage`, with what is known; for a path, whatever finding out what it is meets.
    pub async fn check(&self, selection: &Selection) -> Result<()> {
        match selection {
            Selection::Auto => Ok(()),
            Selection::Path { path } => self.by_path(path).await.map(drop),
            // What is wrong with the host is told when the backend is probed.
            Selection::Named { name, options } => match self.by_name(name, options) {
                Err(e) if e.kind == ErrorKind::Usage => Err(e),
                _ => Ok(()),
            },
        }
    }

    /// The backend that was chosen earlier, to take up what it made.
    ///
    /// # Errors
    /// `Usage` for names and paths that are none; for `auto`, which is no choice.
    pub async fn chosen(&self, selection: &Selection) -> Result<Box<dyn Backend>> {
        match selection {
            Selection::Named { name, options } => self.by_name(name, options),
            Selection::Path { path } => self.by_path(path).await,
            Selection::Auto => {
                Err(Error::new(ErrorKind::Usage, "'auto' is not what made a machine"))
            }
        }
    }

    /// The backend of this name with these options, possibly none.
    ///
    /// # Errors
    /// `Usage` for names and options that are not known, with those that are.
    pub fn by_name(&self, name: &str, options: &str) -> Result<Box<dyn Backend>> {
        let entry = self.entries.iter().find(|e| e.name == name).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("there is no supervisor '{name}'"))
                .with_hint(format!("known are: {}", self.names()))
        })?;
        match &entry.make {
            Some(make) => make(Wanted::Options(options)),
            None => Err(self.not_built(&format!("supervisor '{name}'"))),
        }
    }

    pub(crate) fn not_built(&self, what: &str) -> Error {
        Error::new(ErrorKind::Usage, format!("{what} is not built yet"))
            .with_hint(format!("built are: {}", self.built_names()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.entries.iter().map(|e| e.name).collect();
        format!(
            "auto, {}, or the path of a hypervisor, a plugin (*.so) or a supervisor",
            names.join(", ")
        )
    }

    pub(crate) fn built_names(&self) -> String {
        let built = self.entries.iter().filter(|e| e.make.is_some());
        let names: Vec<_> = built.map(|e| e.name).collect();
        format!(
            "auto, {}, or the path of one of their hypervisors, a plugin (*.so) or a supervisor",
            names.join(", ")
        )
    }
}
