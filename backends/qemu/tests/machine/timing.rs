//! Where the time goes; prints, and asserts nothing that depends on the host.

use std::time::Instant;

use microagent_backend::{Backend, Exit};

use crate::bench::{Bench, PATIENCE};

#[tokio::test]
async fn where_the_time_goes() {
    for bench in Bench::all() {
        for round in 0..5 {
            let dir = bench.dir(&round.to_string());
            let mut at = vec![("", Instant::now())];
            bench.backend.probe().await.unwrap();
            at.push(("probe", Instant::now()));
            let (machine, _life) = bench.attached(&bench.spec("reset"), &dir).await;
            at.push(("create", Instant::now()));
            machine.start().await.unwrap();
            at.push(("start", Instant::now()));
            assert_eq!(machine.wait(PATIENCE).await.unwrap(), Some(Exit::Reset));
            at.push(("wait", Instant::now()));
            machine.destroy().await.unwrap();
            at.push(("destroy", Instant::now()));
            let steps = at.windows(2).map(|w| format!("{} {:.1?}", w[1].0, w[1].1 - w[0].1));
            eprintln!("round {round}: {}", steps.collect::<Vec<_>>().join(", "));
        }
    }
}
