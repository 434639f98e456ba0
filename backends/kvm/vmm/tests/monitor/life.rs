//! How machines begin and end.

use microagent_vmm_protocol::{EXIT_POWER_OFF, EXIT_RESET};

use crate::{Fixture, Guest, kvm_is_missing};

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
