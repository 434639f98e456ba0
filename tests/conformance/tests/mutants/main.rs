//! The cases notice: each fault of a backend is caught by the case named beside it, and
//! that case passes where there is none.

mod fault;
mod machine;

use std::path::Path;
use std::sync::Arc;

use fault::{Fault, Mutant};
use microagent_conformance::{Verdict, cases};
use microagent_tests_conformance::{Wired, faulty, judge};

fn verdict(wired: &Wired, case: &str) -> Verdict {
    let case = cases().into_iter().find(|c| c.name == case).expect("there is such a case");
    judge(wired, &case, |context| context).expect("the case can be run")
}

fn check_both(mutant: &Wired, sound: &Wired, case: &str) {
    let found = verdict(mutant, case);
    assert!(matches!(found, Verdict::Failed(_)), "it survives {case}: {found:?}");
    assert_eq!(verdict(sound, case), Verdict::Passed, "{case} without a fault");
}

fn check(fault: Fault, case: &str) {
    let mutant = |fault| Wired::fake(Arc::new(Mutant::new(fault)));
    check_both(&mutant(fault), &mutant(Fault::None), case);
}

/// The same for a supervisor executable.
fn check_executable(fault: &str, case: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_faulty-supervisor"));
    check_both(&faulty(program, fault), &faulty(program, "none"), case);
}

macro_rules! caught {
    ($($name:ident: $fault:ident by $case:ident;)*) => {$(
        #[test]
        fn $name() {
            check(Fault::$fault, stringify!($case));
        }
    )*};
}

caught! {
    a_probe_that_changes: ProbeChanges by probe_is_repeatable_and_leaves_nothing;
    an_ignored_wish: IgnoresAWish by what_is_not_declared_is_refused;
    a_device_that_is_not_there: DeclaresADeviceItLacks by what_is_declared_is_offered;
    a_part_that_is_not_there: DeclaresAPartItLacks by what_is_declared_is_offered;
    a_limit_that_is_not_there: DeclaresALimitItLacks by as_many_disks_as_declared_can_be_had;
    isolation_that_is_only_promised: PromisesIsolation by what_is_planned_is_in_force;
    a_refusal_without_numbers: RefusesWithoutNumbers by one_disk_too_many_is_refused;
    files_of_a_failed_create: LeavesFilesOnError by a_machine_that_cannot_be_built_leaves_nothing;
    an_open_that_does_not_say_not_found: OpensAreIoErrors by nothing_is_found_where_nothing_is;
    a_pipe_that_nobody_watches: AttachedIsDetached by an_attached_machine_dies_with_its_pipe;
    what_should_go_and_stays: ForgetsWhatToRemove
        by an_attached_machine_takes_with_it_what_it_was_told;
    a_handle_that_kills: HandleKillsWhenDropped by a_detached_machine_outlives_its_handle;
    a_second_start_that_is_ok: StartIsAlwaysOk by start_twice_is_invalid_state;
    a_pause_that_is_ok_and_does_nothing: PauseDoesNothing by pause_twice_is_invalid_state;
    a_resume_that_is_ok_and_does_nothing: ResumeDoesNothing by pause_twice_is_invalid_state;
    a_pause_that_only_says_so: PauseOnlySaysSo by a_paused_guest_stands_still_and_goes_on;
    a_kill_that_is_ok_and_does_nothing: KillDoesNothing by kill_is_idempotent;
    files_after_destroy: DestroyLeavesFiles by destroy_is_idempotent_and_leaves_nothing;
    processes_after_destroy: DestroyLeavesProcesses by destroy_is_idempotent_and_leaves_nothing;
    a_late_wait: WaitIsLate by wait_keeps_its_deadline;
    a_crash_that_looks_like_a_kill: CrashLooksLikeKill
        by a_monitor_killed_from_outside_is_a_crash;
    a_panic_that_looks_like_a_reset: PanicLooksLikeReset
        by a_guest_that_panics_is_told_from_one_that_resets;
}

#[test]
fn a_log_on_standard_output() {
    check_executable("logs", "probe_is_repeatable_and_leaves_nothing");
}

#[test]
fn a_log_on_standard_output_now_and_then() {
    check_executable("logs-when-killing", "kill_is_idempotent");
}
