//! The processes of a machine: `run` is the native monitor, `guard` starts and outlives it or
//! another hypervisor, `serve-vsock` and `serve-net` are devices of one that has none of its
//! own, and `gateway` stands between the network device and the process that opens sockets for it.
//!
//! `microagent-vmm-protocol` says what each reads and which descriptors it is given.

mod allocator;
mod arch;
mod boot;
mod confine;
mod control;
mod device_set;
mod filters;
mod gateway;
mod guard;
mod inherited;
mod life;
mod log;
mod monitor;
mod probe;
mod serve_net;
mod serve_vsock;
mod signals;
mod spec;
mod usage;
mod vcpu;
mod vhost_server;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    log::to_stderr();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.iter().map(|a| a.to_str()).collect::<Vec<_>>()[..] {
        [Some("gateway")] => gateway::run(),
        [Some("guard")] => guard::run(),
        [Some("probe")] => probe::run(),
        [Some("run")] => monitor::run(),
        [Some("serve-net")] => serve_net::run(),
        [Some("serve-vsock")] => serve_vsock::run(),
        [Some("--version")] => usage::version(),
        _ => usage::refuse(),
    }
}
