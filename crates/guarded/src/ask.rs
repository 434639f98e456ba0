//! Asking a program what it is, by running it.

use std::path::Path;
use std::process::Stdio;

use microagent_backend::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::limits::{ANSWER_WITHIN, MAX_ANSWER};

/// What a program printed, and whether it ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its standard output, at most 64 KiB of it.
    pub text: String,
    /// Whether its exit code was 0.
    pub success: bool,
}

/// Runs the program at `path`, with a clean environment and for at most 5 s; whatever it has
/// started is ended with it.
///
/// # Errors
/// `Io` if it cannot be run, `Timeout` if it does not end in time.
pub async fn ask(path: &Path, args: &[&str]) -> Result<Answer> {
    let failed = |e| Error::io(format!("run {} {}", path.display(), args.join(" ")), e);
    let mut child = Command::new(path)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Its own group, so that whatever it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child.id();
    let said = tokio::time::timeout(ANSWER_WITHIN, listen(&mut child)).await;
    end_group(group, &mut child);
    let _ = child.wait().await;
    match said {
        Ok(said) => said.map_err(failed),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "{} did not answer {} within {ANSWER_WITHIN:?}",
                path.display(),
                args.join(" ")
            ),
        )),
    }
}

async fn listen(child: &mut Child) -> std::io::Result<Answer> {
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut text).await?;
    }
    let success = child.wait().await?.success();
    Ok(Answer { text: String::from_utf8_lossy(&text).into_owned(), success })
}

/// Ends what is left of a group whose leader may have been waited for. The number cannot be
/// another group's by then: it stays taken while any process is in the group.
fn end_group(leader: Option<u32>, child: &mut Child) {
    if child.id().is_none() {
        return;
    }
    let leader = leader.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(group) = leader {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_answer() {
        let check = async |script: &str, text: &str, success| {
            let expect = Answer { text: text.to_owned(), success };
            assert_eq!(ask(Path::new("/bin/sh"), &["-c", script]).await.unwrap(), expect);
        };
        check("echo hello; echo lost >&2", "hello\n", true).await;
        check("echo hello; exit 1", "hello\n", false).await;
        let flood = format!("head -c {} /dev/zero | tr '\\0' x", 2 * MAX_ANSWER);
        let got = ask(Path::new("/bin/sh"), &["-c", &flood]).await.unwrap();
        assert_eq!(got.text.len() as u64, MAX_ANSWER);
    }

    #[tokio::test]
    async fn what_cannot_be_run_is_named() {
        let error = ask(Path::new("/nonexistent/program"), &["--version"]).await.unwrap_err();
        assert_eq!(error.message, "cannot run /nonexistent/program --version");
    }
}
