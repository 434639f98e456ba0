//! What a user may choose about this backend.

use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Result};

/// What a user may choose about this backend, and what it needs from the program.
#[derive(Debug, Clone, Default)]
pub struct CloudHypervisorOptions {
    /// The Cloud Hypervisor that the user named; otherwise `cloud-hypervisor` of `PATH`.
    pub program: Option<PathBuf>,
    /// The program `microagent-vmm`, an absolute path.
    pub monitor: PathBuf,
    /// An existing directory in which to remember what was found out about program and host,
    /// so that they are asked once and not at every run; without one they are asked once by
    /// each process.
    pub cache_dir: Option<PathBuf>,
}

impl CloudHypervisorOptions {
    /// Reads what stands after the colon in `cloud-hypervisor:`, where nothing can stand.
    ///
    /// # Errors
    /// `Usage` for anything.
    pub fn parse_options(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::default()),
            _ => {
                let key = text.split(['=', ',']).next().unwrap_or_default();
                let what = format!("cloud-hypervisor has no option '{key}'");
                Err(Error::new(ErrorKind::Usage, what).with_hint("it has none at all"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_options() {
        assert!(CloudHypervisorOptions::parse_options("").is_ok());
        let error = CloudHypervisorOptions::parse_options("accel=tcg").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert_eq!(error.message, "cloud-hypervisor has no option 'accel'");
    }
}
