//! Machines that are taken up, held and let go.

use std::time::Duration;

use microagent_backend::{Backend, ErrorKind, Exit, Lifetime, State};

use crate::bench::{Bench, console, exists, pids, shows};

#[tokio::test]
async fn a_detached_machine_outlives_its_handle() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let made = bench.backend.create(&bench.spec("hang"), &dir, Lifetime::Detached).await;
        drop(made.unwrap());

        let other = bench.stranger().open(&dir).await.unwrap();
        assert_eq!(other.state().await.unwrap(), State::Created);
        other.start().await.unwrap();
        let third = bench.stranger().open(&dir).await.unwrap();
        assert_eq!(third.state().await.unwrap(), State::Running);
        shows(third.as_ref(), "guest is up").await;
        assert_eq!(third.wait(Duration::ZERO).await.unwrap(), None);

        let pids = pids(third.as_ref()).await;
        third.destroy().await.unwrap();
        assert_eq!(other.wait(Duration::from_secs(5)).await.unwrap(), Some(Exit::Killed));
        assert_eq!(bench.stranger().open(&dir).await.err().unwrap().kind, ErrorKind::NotFound);
        drop(other);
        crate::bench::until("all are gone", || !pids.iter().any(|pid| exists(*pid))).await;
    }
}

#[tokio::test]
async fn wrong_moments_change_nothing() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, _life) = bench.attached(&bench.spec("count"), &dir).await;
        let pause = machine.as_pause().unwrap();
        let invalid = |r: microagent_backend::Result<()>, what: &str| {
            assert_eq!(r.err().map(|e| e.kind), Some(ErrorKind::InvalidState), "{what}");
        };
        invalid(pause.pause().await, "pause before start");
        invalid(pause.resume().await, "resume before start");
        machine.start().await.unwrap();
        invalid(machine.start().await, "start again");
        shows(machine.as_ref(), "tick 1").await;

        pause.pause().await.unwrap();
        invalid(pause.pause().await, "pause again");
        assert_eq!(machine.state().await.unwrap(), State::Paused);
        let held = console(machine.as_ref());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let later = console(machine.as_ref());
        assert!(later.len() <= held.len() + 64, "the guest goes on while it is held");
        pause.resume().await.unwrap();
        let ticks = later.matches("tick").count();
        shows(machine.as_ref(), &format!("tick {}", ticks + 3)).await;

        // Others get a word in while the owner's connection stands.
        let other = bench.stranger().open(&dir).await.unwrap();
        assert_eq!(other.state().await.unwrap(), State::Running);
        machine.destroy().await.unwrap();
        invalid(machine.start().await, "start what is gone");
        assert!(machine.isolation().await.is_err());
    }
}

#[tokio::test]
async fn its_processes_are_confined() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let planned = bench.backend.probe().await.unwrap().isolation;
        let (machine, _life) = bench.attached(&bench.spec("hang"), &dir).await;
        machine.start().await.unwrap();
        let isolation = machine.isolation().await.unwrap();
        eprintln!("{planned:?}\n{isolation:#?}");
        let roles: Vec<_> = isolation.processes.iter().map(|p| p.role.as_str()).collect();
        assert_eq!(roles, ["monitor", "guard", "vsock"]);
        let monitor = &isolation.processes[0];
        assert_eq!(monitor.seccomp, 2);
        assert_eq!(monitor.landlock, Some(planned.landlock));
        assert_eq!(monitor.max_file_size, Some(128 << 20));
        assert!(isolation.processes.iter().all(|p| p.no_new_privs));
        machine.destroy().await.unwrap();
    }
}
