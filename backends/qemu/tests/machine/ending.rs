//! How machines end.

use microagent_backend::{Exit, State};

use crate::bench::{Bench, PATIENCE, console, exists, pid, pids, run, shows, signal, until};

#[tokio::test]
async fn a_reset_ends_it_and_nothing_is_left() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, _life) = bench.attached(&bench.spec("reset"), &dir).await;
        assert_eq!(machine.state().await.unwrap(), State::Created);
        let pids = pids(machine.as_ref()).await;
        assert_eq!(run(machine.as_ref()).await, Exit::Reset);
        assert_eq!(machine.state().await.unwrap(), State::Stopped);
        assert_eq!(console(machine.as_ref()).matches("guest is up").count(), 1);
        machine.destroy().await.unwrap();
        assert!(!dir.path().exists());
        assert_eq!(pids.iter().filter(|pid| exists(**pid)).count(), 0, "{pids:?}");
        machine.destroy().await.unwrap();
        assert_eq!(machine.wait(PATIENCE).await.unwrap(), Some(Exit::Reset));
    }
}

#[tokio::test]
async fn a_panic_is_seen() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, _life) = bench.attached(&bench.spec("panic"), &dir).await;
        assert_eq!(run(machine.as_ref()).await, Exit::Panic);
        machine.destroy().await.unwrap();
    }
}

#[tokio::test]
async fn killed_is_not_crashed() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, _life) = bench.attached(&bench.spec("hang"), &dir).await;
        machine.start().await.unwrap();
        machine.kill().await.unwrap();
        machine.kill().await.unwrap();
        assert_eq!(machine.wait(PATIENCE).await.unwrap(), Some(Exit::Killed));
        let other = bench.stranger();
        let other = microagent_backend::Backend::open(&other, &dir).await.unwrap();
        assert_eq!(other.wait(PATIENCE).await.unwrap(), Some(Exit::Killed));
        machine.destroy().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_dies_is_noticed() {
    let cases = [
        ("monitor", "KILL", "signal 9"),
        ("monitor", "TERM", "terminating on signal 15"),
        ("monitor", "SEGV", "signal 11"),
        ("guard", "KILL", "its guard was killed"),
        ("vsock", "KILL", "vsock process died"),
    ];
    for bench in Bench::all() {
        for (number, (role, name, expect)) in cases.into_iter().enumerate() {
            let dir = bench.dir(&number.to_string());
            let (machine, _life) = bench.attached(&bench.spec("hang"), &dir).await;
            machine.start().await.unwrap();
            shows(machine.as_ref(), "guest is up").await;
            let pids = pids(machine.as_ref()).await;
            signal(pid(machine.as_ref(), role).await, name);
            match machine.wait(PATIENCE).await.unwrap() {
                Some(Exit::Crashed { detail }) if detail.contains(expect) => {}
                other => panic!("{role} {name}: {other:?}"),
            }
            machine.destroy().await.unwrap();
            assert_eq!(pids.iter().filter(|pid| exists(**pid)).count(), 0);
            assert!(!dir.path().exists());
        }
    }
}

#[tokio::test]
async fn the_pipe_takes_it_along() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, life) = bench.attached(&bench.spec("hang"), &dir).await;
        machine.start().await.unwrap();
        shows(machine.as_ref(), "guest is up").await;
        let pids = pids(machine.as_ref()).await;
        drop(life);
        assert_eq!(machine.wait(PATIENCE).await.unwrap(), Some(Exit::Killed));
        until("the directory is gone", || !dir.path().exists()).await;
        drop(machine);
        until("all processes are gone", || !pids.iter().any(|pid| exists(*pid))).await;
    }
}
