//! Bringing together what was said, what is built and what the host can do.

use std::fmt;

use microagent_backend::{Backend, Capabilities, Error, ErrorKind, Rejection, Result, admit};
use microagent_machine::{Feature, MachineSpec};

use crate::{Registry, Selection};

/// What to do where no backend works.
const INSTALL: &str =
    "install QEMU (Debian: apt-get install qemu-system-x86), or name one with --supervisor";

/// A backend that works here and admits the machine.
pub struct Choice {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// What it said it can do.
    pub capabilities: Capabilities,
    /// Why it, and why not the ones before it.
    pub reasons: Vec<Reason>,
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("capabilities", &self.capabilities)
            .field("reasons", &self.reasons)
            .finish_non_exhaustive()
    }
}

/// A sentence about one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which backend.
    pub backend: String,
    /// Why it was taken or passed over.
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.text)
    }
}

impl Registry {
    /// Finds the backend for `spec`. A backend that was named is the one or an error; `auto`
    /// takes the first that works and admits, and keeps the reasons against the others.
    ///
    /// # Errors
    /// `Usage` for names and paths that are none, `Unsupported` with every rejection for a
    /// machine that the chosen backend cannot run, and what its probe meets.
    pub async fn choose(&self, selection: &Selection, spec: &MachineSpec) -> Result<Choice> {
        match selection {
            Selection::Named { name, options } => {
                self.take_named(self.by_name(name, options)?, spec, "it was named").await
            }
            Selection::Path { path } => {
                self.take_named(self.by_path(path).await?, spec, "its path was given").await
            }
            Selection::Auto => self.first_that_works(spec).await,
        }
    }

    /// Takes this backend and no other; what it cannot do is refused with those that can.
    async fn take_named(
        &self,
        backend: Box<dyn Backend>,
        spec: &MachineSpec,
        why: &str,
    ) -> Result<Choice> {
        let name = backend.name().to_owned();
        match take(backend, spec, why).await {
            Err(e) if e.kind == ErrorKind::Unsupported && e.hint.is_none() => {
                let others = self.others_that_can(&name, spec).await;
                let hint = match &*others {
                    [] => "no other supervisor that works here can either".to_owned(),
                    [one] => format!("{one} can: --supervisor {one}"),
                    [first, ..] => format!("{} can: --supervisor {first}", others.join(", ")),
                };
                let no_network = Rejection::Feature { feature: Feature::UserNet, remedy: None };
                let isolated = match e.message.contains(&no_network.to_string()) {
                    true => "; or run without a network: --network isolated",
                    false => "",
                };
                Err(e.with_hint(format!("{hint}{isolated}")))
            }
            taken => taken,
        }
    }

    /// The backends but `name` that work here and admit `spec`, in the order of `auto`.
    async fn others_that_can(&self, name: &str, spec: &MachineSpec) -> Vec<&'static str> {
        let mut can = Vec::new();
        for entry in self.entries().iter().filter(|entry| entry.name != name) {
            if let Ok(backend) = self.by_name(entry.name, "")
                && take(backend, spec, "").await.is_ok()
            {
                can.push(entry.name);
            }
        }
        can
    }

    async fn first_that_works(&self, spec: &MachineSpec) -> Result<Choice> {
        let (mut reasons, mut remedy) = (Vec::new(), None);
        for entry in self.entries().iter().filter(|entry| entry.automatic) {
            let attempt = match self.by_name(entry.name, "") {
                Ok(backend) => take(backend, spec, "the first that works and can run this").await,
                Err(e) => Err(e),
            };
            match attempt {
                Ok(mut choice) => {
                    reasons.append(&mut choice.reasons);
                    return Ok(Choice { reasons, ..choice });
                }
                Err(e) => {
                    reasons.push(Reason { backend: entry.name.into(), text: e.to_string() });
                    // One that works but for something: what helps it is the shortest way.
                    let helps = e.hint.filter(|_| e.kind == ErrorKind::Unsupported);
                    remedy = remedy.or(helps);
                }
            }
        }
        let why: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("no supervisor can run this machine here: {}", why.join("; ")),
        )
        .with_hint(remedy.unwrap_or_else(|| INSTALL.to_owned())))
    }
}

async fn take(backend: Box<dyn Backend>, spec: &MachineSpec, why: &str) -> Result<Choice> {
    let capabilities = backend.probe().await?;
    let rejections = admit(spec, &capabilities);
    if !rejections.is_empty() {
        return Err(Rejection::error(backend.name(), &rejections));
    }
    let acceleration = &capabilities.acceleration;
    let reason = Reason {
        backend: backend.name().to_owned(),
        text: format!("{why}; {}: {}", acceleration.name(), acceleration.evidence()),
    };
    Ok(Choice { backend, capabilities, reasons: vec![reason] })
}

#[cfg(test)]
mod tests;
