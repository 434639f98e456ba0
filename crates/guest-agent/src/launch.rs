//! The way from a copy of the agent to a command: runs in the child only.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use microagent_guest_protocol::ExecRequest;
use rustix::fs::{Gid, Mode, Uid, fchown};
use rustix::process::{geteuid, ioctl_tiocsctty, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    CapabilitySet, remove_capability_from_bounding_set, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::account::{self, Account};
use crate::program::{self, NotStarted};
use crate::signals;
use crate::stdio::CommandEnds;
use crate::sys::process::{close_others_on_exec, default_pipe_signal, exit_now};

/// What the rest of a message is cut off at.
const MAX_MESSAGE: usize = 2048;

/// Becomes the command, or reports on `status` why not and ends. `status` closes by itself
/// when the command begins, as all descriptors of the agent do: each is opened
/// close-on-exec.
pub(crate) fn launch(request: &ExecRequest, streams: CommandEnds, status: OwnedFd) -> ! {
    let Err(NotStarted { code, message }) = become_command(request, streams);
    let mut report = vec![code];
    report.extend_from_slice(message.as_bytes());
    report.truncate(MAX_MESSAGE);
    let _ = fs::File::from(status).write_all(&report);
    exit_now(i32::from(code));
}

/// What [`launch`] wrote, read back.
pub(crate) fn parse_report(report: &[u8]) -> Option<NotStarted> {
    let (code, message) = report.split_first()?;
    Some(NotStarted { code: *code, message: String::from_utf8_lossy(message).into_owned() })
}

/// The longest report that [`launch`] writes, in bytes.
pub(crate) const MAX_REPORT: usize = MAX_MESSAGE;

fn become_command(
    request: &ExecRequest,
    streams: CommandEnds,
) -> Result<std::convert::Infallible, NotStarted> {
    setsid().map_err(failed("start a session"))?;
    let account =
        account::look_up(&request.user.0).map_err(|error| NotStarted::cannot(error.to_string()))?;
    let environment = program::environment(&request.env, &account.home);
    let environment_c = program::c_strings(&environment)?;
    let arguments = program::c_strings(&request.argv)?;
    connect_streams(streams, &account)?;
    umask(Mode::WGRP | Mode::WOTH);
    enter(&request.workdir)?;
    become_user(&account)?;
    let name = request.argv.first().map_or("", |name| name);
    let program = program::find(name, &environment)?;
    let [program_c] = &program::c_strings(std::slice::from_ref(&program))?[..] else {
        return Err(NotStarted::cannot("one text became several"));
    };
    signals::give_back().map_err(failed("unblock signals"))?;
    default_pipe_signal();
    close_others_on_exec();
    let error = match nix::unistd::execve(program_c, &arguments, &environment_c) {
        Err(error) => io::Error::from(error),
        Ok(never) => return Ok(never),
    };
    let message = format!("{program}: {error}");
    Err(match error.kind() {
        // The file is there: what is missing is its interpreter.
        io::ErrorKind::NotFound => NotStarted::missing(format!("{program}: interpreter not found")),
        _ => NotStarted::cannot(message),
    })
}

fn connect_streams(streams: CommandEnds, account: &Account) -> Result<(), NotStarted> {
    let CommandEnds { stdin, stdout, stderr, is_terminal } = streams;
    if is_terminal {
        ioctl_tiocsctty(&stdin).map_err(failed("take the terminal"))?;
    }
    if geteuid().is_root() && account.uid != 0 {
        // So that the command can open /dev/stdout and /dev/stderr, which an open checks anew.
        for stream in [&stdout, &stderr] {
            let owner = Some(Uid::from_raw(account.uid));
            fchown(stream, owner, None).map_err(failed("hand over the streams"))?;
        }
    }
    dup2_stdin(stdin.as_fd()).map_err(failed("connect standard input"))?;
    dup2_stdout(stdout.as_fd()).map_err(failed("connect standard output"))?;
    dup2_stderr(stderr.as_fd()).map_err(failed("connect standard error"))
}

/// Made and entered as root, as container runtimes do.
fn enter(workdir: &str) -> Result<(), NotStarted> {
    let workdir = if workdir.is_empty() { "/" } else { workdir };
    let failed =
        |error: io::Error| NotStarted::cannot(format!("working directory {workdir}: {error}"));
    if !workdir.starts_with('/') {
        return Err(failed(io::Error::other("not an absolute path")));
    }
    match std::env::set_current_dir(workdir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(workdir).map_err(failed)?;
            std::env::set_current_dir(workdir).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn become_user(account: &Account) -> Result<(), NotStarted> {
    // Process 1 always is root. An agent that was started by hand by someone else cannot be
    // another user, and has nothing to give up.
    if !geteuid().is_root() {
        return Ok(());
    }
    // Only the agent ends the machine, by the call on which the monitor exits.
    remove_capability_from_bounding_set(CapabilitySet::SYS_BOOT)
        .map_err(failed("give up CAP_SYS_BOOT"))?;
    let gid = Gid::from_raw(account.gid);
    let uid = Uid::from_raw(account.uid);
    let mut groups = vec![gid];
    groups.extend(account.groups.iter().map(|gid| Gid::from_raw(*gid)));
    groups.dedup();
    set_thread_groups(&groups).map_err(failed("set the groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(failed("set the group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("set the user"))
}

fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> NotStarted {
    move |error| NotStarted::cannot(format!("{action}: {}", error.into()))
}
