//! A guest's clock, which stands still while its machine does.

use std::thread::sleep;
use std::time::{Duration, Instant};

use microagent_vmm_protocol::{MonitorState, Request};

use crate::fixture::PATIENCE;
use crate::{Fixture, Guest, kvm_is_missing};

/// How long the machine is paused: more than the 2^32 steps of its counter that the guest takes
/// for a jump, at any frequency above 1.1 GHz. No turn of its loop takes so many.
const PAUSE: Duration = Duration::from_secs(4);

/// Reads the time stamp counter over and over, and says `.` for a step, `J` for a jump.
fn watching() -> Vec<u8> {
    Guest::new()
        .raw(&[0x0f, 0x31, 0x89, 0xc6, 0x89, 0xd7]) // rdtsc; mov esi, eax; mov edi, edx
        .raw(&[0x66, 0xba, 0xf8, 0x03, 0xb0, b'.', 0xee]) // again: '.'
        .raw(&[0x0f, 0x31, 0x89, 0xc3, 0x89, 0xd1]) // rdtsc; mov ebx, eax; mov ecx, edx
        .raw(&[0x29, 0xf0, 0x19, 0xfa]) // sub eax, esi; sbb edx, edi
        .raw(&[0x89, 0xde, 0x89, 0xcf]) // mov esi, ebx; mov edi, ecx
        .raw(&[0x85, 0xd2, 0x74, 0xe7]) // test edx, edx; jz again
        .raw(&[0x66, 0xba, 0xf8, 0x03, 0xb0, b'J', 0xee]) // 'J'
        .raw(&[0xeb, 0xde]) // jmp again
        .spin()
}

#[test]
fn a_guest_does_not_see_that_it_was_paused() {
    if kvm_is_missing() {
        return;
    }
    let mut monitor = Fixture::new(&watching()).spawn();
    let mut driver = monitor.connect();
    driver.state(&Request::Start);
    monitor.wait_for("..");
    assert_eq!(driver.state(&Request::Pause), MonitorState::Paused);
    let said = driver.stats().vcpus[0].io;
    sleep(PAUSE);
    assert_eq!(driver.stats().vcpus[0].io, said, "it ran while it was paused");
    driver.state(&Request::Resume);
    let deadline = Instant::now() + PATIENCE;
    while driver.stats().vcpus[0].io < said + 10 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    monitor.kill();
    let ended = monitor.end();
    if ended.log.contains("went on during a pause") {
        eprintln!("SKIP: this host's KVM does not hold the counter of a guest: {}", ended.log);
        return;
    }
    let console = &ended.console;
    assert!(console.starts_with('.') && !console.contains('J'), "{ended:?}");
}
