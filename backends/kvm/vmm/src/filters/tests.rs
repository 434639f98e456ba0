//! Filters at work, each in a process of its own.
#![allow(unsafe_code)] // fork, and system calls by number

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, filter};

const MONITOR: [Class; 3] = [Class::Monitor, Class::Vcpu, Class::Io];

#[test]
fn there_is_one_for_each_class() {
    for class in [Class::Child, Class::Guard, Class::Gateway, Class::Vsock, Class::Net]
        .into_iter()
        .chain(MONITOR)
    {
        let present = filter(class).unwrap().is_some();
        assert_eq!(present, cfg!(target_arch = "x86_64"), "{class:?}");
    }
}

/// What became of a call of a process that had the filter of `class`.
fn after_call(class: Class, call: libc::c_long, argument: libc::c_long) -> Outcome {
    microagent_confine::forbid_new_privileges().unwrap();
    let filter = filter(class).unwrap().unwrap();
    // SAFETY: the child makes system calls and nothing else: it neither allocates nor locks.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let installed = filter.install_on_this_thread().is_ok();
        // SAFETY: none of the calls that tests make here touches memory, with these arguments.
        // The signals end the process; every class lets it send them to itself.
        unsafe {
            let signal = match installed && libc::syscall(call, argument, 0, 0, 0) != -1 {
                true => DONE,
                false => FAILED,
            };
            libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal);
        }
    }
    let mut status = 0;
    // SAFETY: the status is a place for one.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    match libc::WTERMSIG(status) {
        DONE => Outcome::Done,
        FAILED => Outcome::Failed,
        libc::SIGSYS => Outcome::Ended,
        other => panic!("{class:?} {call}: signal {other}"),
    }
}

/// What a child ends itself with, once its call is done, or has failed.
const DONE: libc::c_int = libc::SIGUSR1;
const FAILED: libc::c_int = libc::SIGUSR2;

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// With the process.
    Ended,
}

/// What nobody who serves a guest may ever do.
const FORBIDDEN: [libc::c_long; 14] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fork,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_ptrace,
    libc::SYS_kill,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
];

#[test]
#[cfg(target_arch = "x86_64")]
fn a_forbidden_call_ends_a_monitor() {
    for class in MONITOR {
        for forbidden in FORBIDDEN {
            assert_eq!(after_call(class, forbidden, 0), Outcome::Ended, "{class:?} {forbidden}");
        }
        // With arguments that no rule names: any request of a device, an Internet socket.
        for (name, argument) in [(libc::SYS_ioctl, -1), (libc::SYS_socket, libc::AF_INET.into())] {
            assert_eq!(after_call(class, name, argument), Outcome::Ended, "{class:?} {name}");
        }
        assert_eq!(after_call(class, libc::SYS_getpid, 0), Outcome::Done, "{class:?}");
        assert_eq!(after_call(class, libc::SYS_close, -1), Outcome::Failed, "{class:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_forbidden_call_of_a_helper_fails() {
    for class in [Class::Guard, Class::Gateway, Class::Vsock, Class::Net] {
        for forbidden in [libc::SYS_execve, libc::SYS_ptrace, libc::SYS_mount] {
            assert_eq!(after_call(class, forbidden, 0), Outcome::Failed, "{class:?} {forbidden}");
        }
        assert_eq!(after_call(class, libc::SYS_getpid, 0), Outcome::Done, "{class:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_hypervisor_is_denied_what_none_needs() {
    for call in [libc::SYS_ptrace, libc::SYS_mount, libc::SYS_unshare, libc::SYS_bpf] {
        assert_eq!(after_call(Class::Child, call, 0), Outcome::Failed, "{call}");
    }
    assert_eq!(after_call(Class::Child, libc::SYS_getpid, 0), Outcome::Done);
}

#[test]
fn every_rule_says_why() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp/x86_64.json"));
    let classes: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text.unwrap()).unwrap();
    for (class, filter) in classes {
        let rules = filter["filter"].as_array().unwrap();
        for rule in rules {
            assert!(rule["comment"].as_str().is_some_and(|why| !why.is_empty()), "{class}: {rule}");
        }
        let different: BTreeSet<_> =
            rules.iter().map(|rule| format!("{}{}", rule["syscall"], rule["args"])).collect();
        assert_eq!(different.len(), rules.len(), "{class} has a rule twice");
    }
}
