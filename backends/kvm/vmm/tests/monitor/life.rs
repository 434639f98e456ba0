//! How machines begin and end.

use microagent_vmm_protocol::{
    ControlErrorKind, EXIT_POWER_OFF, EXIT_RESET, KernelImage, MAX_SPEC_LEN, MonitorDisk,
    MonitorNet, MonitorState, NetKind, Reply, Request, VERSION,
};

use crate::{Fixture, Guest, add_disk, kvm_is_missing, vsock};

const NET: MonitorNet = MonitorNet { mac: [2, 0, 0, 0, 0, 1], kind: NetKind::Stream };

#[test]
fn a_guest_ends_its_machine() {
    if kvm_is_missing() {
        return;
    }
    let check = |kernel: Vec<u8>, code: u8| {
        let ended = Fixture::new(&kernel).run();
        assert_eq!(ended.code, Some(code.into()), "{ended:?}");
        assert_eq!((ended.console.as_str(), ended.log.as_str()), ("hello\n", ""));
    };
    check(Guest::new().say("hello\n").power_off(), EXIT_POWER_OFF);
    check(Guest::new().say("hello\n").triple_fault(), EXIT_RESET);
    check(Guest::new().say("hello\n").out(0x64, 0xfe).spin(), EXIT_RESET);
}

#[test]
fn a_guest_that_cannot_go_on_is_told_of_with_where_it_was() {
    if kvm_is_missing() {
        return;
    }
    // Neither memory nor a device: mov eax, nowhere; jmp eax
    let nowhere = 0xe000_0000u32;
    let guest = Guest::new().raw(&[0xb8]).raw(&nowhere.to_le_bytes()).raw(&[0xff, 0xe0]).spin();
    let ended = Fixture::new(&guest).run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains("KVM") && ended.log.contains("at rip 0xe0000000"), "{ended:?}");
}

/// A kernel whose guest says that it runs, and runs on.
fn endless() -> Vec<u8> {
    Guest::new().say("up\n").spin()
}

#[test]
fn an_endless_loop_is_paused_resumed_and_killed() {
    if kvm_is_missing() {
        return;
    }
    let mut monitor = Fixture::new(&endless()).spawn();
    let mut driver = monitor.connect();
    assert_eq!(driver.state(&Request::State { version: VERSION }), MonitorState::Created);
    assert_eq!(driver.state(&Request::Start), MonitorState::Running);
    monitor.wait_for("up\n");
    for _ in 0..3 {
        assert_eq!(driver.state(&Request::Pause), MonitorState::Paused);
        assert_eq!(monitor.connect().state(&Request::Resume), MonitorState::Running);
    }
    assert_eq!(driver.state(&Request::Pause), MonitorState::Paused);
    monitor.kill();
    let ended = monitor.end();
    assert_eq!((ended.code, ended.signal, ended.log.as_str()), (None, Some(9), ""));
}

#[test]
fn requests_at_the_wrong_moment_change_nothing() {
    if kvm_is_missing() {
        return;
    }
    let mut monitor = Fixture::new(&endless()).spawn();
    let mut driver = monitor.connect();
    let mut check = |state: MonitorState, refused: &[Request]| {
        for request in refused {
            match driver.ask(request) {
                Reply::Refused(error) => {
                    assert_eq!(error.kind, ControlErrorKind::InvalidState, "{request:?}");
                }
                other => panic!("{request:?}: {other:?}"),
            }
            assert_eq!(driver.state(&Request::State { version: VERSION }), state);
        }
    };
    check(MonitorState::Created, &[Request::Pause, Request::Resume]);
    monitor.connect().state(&Request::Start);
    check(MonitorState::Running, &[Request::Start, Request::Resume]);
    monitor.wait_for("up\n");
    monitor.connect().state(&Request::Pause);
    check(MonitorState::Paused, &[Request::Start, Request::Pause]);
}

#[test]
fn what_was_stopped_is_counted() {
    if kvm_is_missing() {
        return;
    }
    let mut monitor =
        Fixture::new(&Guest::new().copy(0xd000_0000, 0x12_0000).say("up\n").spin()).spawn();
    let mut driver = monitor.connect();
    let stats = driver.stats();
    assert_eq!((stats.start_us, stats.vcpus[0].io, stats.vcpus[0].mmio), (None, 0, 0));
    driver.state(&Request::Start);
    monitor.wait_for("up\n");
    driver.state(&Request::Pause);
    let stats = driver.stats();
    assert!(stats.start_us.is_some_and(|us| us > 0));
    assert_eq!((stats.vcpus[0].io, stats.vcpus[0].mmio), (3, 1));
    // Some kernels count none.
    assert!(stats.vcpus[0].exits.is_none_or(|all| all >= 4), "{stats:?}");
}

#[test]
fn what_cannot_be_built_is_said() {
    if kvm_is_missing() {
        return;
    }
    let check = |change: fn(&mut Fixture), expect: &str| {
        let mut fixture = Fixture::new(&endless());
        change(&mut fixture);
        let ended = fixture.run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.log.contains(expect) && ended.log.lines().count() == 1, "{}", ended.log);
    };
    check(|f| f.spec.version = 9, "has version 9");
    check(|f| f.spec.vcpus = 0, "vcpus of the specification is 0, expected 1 to 32");
    check(|f| f.spec.vcpus = 33, "vcpus of the specification is 33, expected 1 to 32");
    check(|f| f.spec.memory_mib = 0, "memory_mib of the specification is 0");
    check(|f| f.spec.kernel = "/does/not/exist".into(), "cannot open the kernel /does/not/exist");
    check(|f| f.spec.initramfs = f.path("none"), "cannot open the initramfs");
    check(|f| f.spec.image = KernelImage::BzImage, "the kernel's header");
    check(|f| add_disk(f, "disk", 100), "expected a multiple of 512");
    check(|f| (0..20).for_each(|n| add_disk(f, &format!("d{n}"), 512)), "there is room for 19");
    check(|f| f.spec.net = Some(NET), "descriptor 7 is missing");
    check(|f| f.spec.vsock = Some(vsock("../x")), "expected a file name");
}

#[test]
fn a_specification_that_is_none_is_refused() {
    if kvm_is_missing() {
        return;
    }
    let check = |text: &str, expect: &str| {
        let ended = Fixture::new(&endless()).spawn_with(text).end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.log.contains(expect), "{}", ended.log);
    };
    check("", "not what this version reads");
    check(r#"{"version":1}"#, "not what this version reads");
    check(&" ".repeat(MAX_SPEC_LEN as usize + 1), "longer than");
}

#[test]
fn an_image_in_use_is_refused() {
    if kvm_is_missing() {
        return;
    }
    let mut one = Fixture::new(&endless());
    add_disk(&mut one, "disk", 512);
    let path = one.path("disk");
    let running = one.spawn();
    running.connect().state(&Request::State { version: VERSION });
    let check = |read_only| {
        let mut two = Fixture::new(&endless());
        two.spec.disks.push(MonitorDisk { id: "other".into(), path: path.clone(), read_only });
        let ended = two.run();
        assert!(ended.log.contains("of disk \"other\" cannot be used: it is in use"), "{ended:?}");
    };
    check(false);
    check(true);
    drop(running);
    let mut two = Fixture::new(&Guest::new().power_off());
    two.spec.disks.push(MonitorDisk { id: "other".into(), path, read_only: false });
    assert_eq!(two.run().code, Some(0));
}
