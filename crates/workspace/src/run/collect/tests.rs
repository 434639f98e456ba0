use std::sync::Mutex;

use tokio::sync::oneshot;

use super::*;

/// How long nothing must come for these tests.
const SHORT: Duration = Duration::from_millis(50);

fn signalled() -> Sent {
    Sent::Ended(ExitStatus::Signal { signal: SIGKILL })
}

/// A sender that ends when it is killed, and no sooner.
fn killable() -> (impl Fn(), impl Future<Output = Sent>) {
    let (sender, killed) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let kill = move || {
        if let Some(sender) = sender.lock().unwrap().take() {
            sender.send(()).unwrap();
        }
    };
    (kill, async move { killed.await.map_or(Sent::Refused, |()| signalled()) })
}

#[tokio::test]
async fn a_guest_that_sends_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, _theirs) = channel(SHORT).unwrap();
    let mut receiving = Receiving::start(ours, dir.path().join("out"), 0o022);
    let (kill, sending) = killable();
    let sent = tokio::time::timeout(PARTING, both(sending, &mut receiving, kill)).await;
    let failed = outcome(sent.unwrap(), receiving.end().await, &Words::default()).unwrap_err();
    assert!(failed.starts_with("the guest has stopped sending"), "{failed}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_is_cut_short_hears_the_sender_out() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = channel(SILENCE).unwrap();
    drop(theirs);
    let mut receiving = Receiving::start(ours, dir.path().join("out"), 0o022);
    receiving.settled().await;
    let sending = async {
        tokio::task::yield_now().await;
        let message = "no such\u{1b}[31m file\n".into();
        Sent::Ended(ExitStatus::NotStarted { code: 127, message })
    };
    let sent = both(sending, &mut receiving, || panic!("killed")).await;
    let failed = outcome(sent, receiving.end().await, &Words::default()).unwrap_err();
    assert_eq!(failed, "no such [31m file");
}

#[test]
fn what_was_received_to_its_end_is_there() {
    let check = |sent: Sent| {
        let done = Extracted { entries: 3, ..Extracted::default() };
        assert_eq!(outcome(sent, Ok(done.clone()), &Words::default()), Ok(done));
    };
    check(Sent::Ended(ExitStatus::Code { code: 0 }));
    check(signalled());
    check(Sent::Lost("the guest ended".into()));
}

#[test]
fn what_ended_a_transfer_is_told() {
    let check = |sent: Sent, received: std::io::ErrorKind, expect: &str| {
        let error = ReadError::Io { doing: "receiving it".into(), source: received.into() };
        let failed = outcome(sent, Err(error), &Words::default()).unwrap_err();
        assert!(failed.starts_with(expect), "{failed}, expected {expect}");
    };
    let (cut, other) = (ErrorKind::UnexpectedEof, ErrorKind::StorageFull);
    check(signalled(), cut, "signal 9 ended what sends it");
    check(Sent::Lost("the guest ended".into()), cut, "the guest ended");
    check(Sent::Ended(ExitStatus::Code { code: 0 }), cut, "receiving it");
    // The receiver was first.
    check(signalled(), other, "receiving it");
    check(Sent::Lost("the guest ended".into()), other, "receiving it");
    check(Sent::Refused, other, "receiving it");
}
