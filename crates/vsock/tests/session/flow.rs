//! Commands and their streams.

use microagent_guest_protocol::frame::{Kind, MAX_DATA};
use microagent_guest_protocol::{AgentMessage, ExitStatus, HostMessage, Stream, TtySize, WINDOW};
use microagent_vsock::ExecIo;

use crate::agent::{Mode, TestSink, io, request, session};

#[tokio::test]
async fn a_command_runs_and_its_streams_are_kept_apart() {
    let (session, mut agent) = session().await;
    let (out, err) = (TestSink::default(), TestSink::default());
    let exec = session.exec(request(1, false), io(&out, &err));
    assert_eq!(agent.message().await, HostMessage::Exec(request(1, false)));
    agent.send(AgentMessage::Started { id: 1, pid: 42 }).await;
    assert_eq!(exec.started().await.unwrap(), Some(42));
    for byte in 0..100 {
        agent.data(1, Stream::Stdout, &[byte]).await;
        agent.data(1, Stream::Stderr, &[byte + 100]).await;
    }
    agent.end(1, Stream::Stdout).await;
    agent.end(1, Stream::Stderr).await;
    agent.exited(1, 3).await;
    assert_eq!(exec.wait().await.unwrap(), ExitStatus::Code { code: 3 });
    assert_eq!(exec.wait().await.unwrap(), ExitStatus::Code { code: 3 });
    assert_eq!(out.bytes(), (0..100).collect::<Vec<u8>>());
    assert_eq!(err.bytes(), (100..200).collect::<Vec<u8>>());
}

#[tokio::test]
async fn commands_run_side_by_side() {
    let (session, mut agent) = session().await;
    let sinks: Vec<_> = (0..3).map(|_| TestSink::default()).collect();
    let none = TestSink::default();
    let execs: Vec<_> =
        (0..3).map(|n| session.exec(request(n, false), io(&sinks[n as usize], &none))).collect();
    for round in 0..10u8 {
        for id in 0..3u32 {
            agent.data(id, Stream::Stdout, &[round + 10 * id as u8]).await;
        }
    }
    for id in [2, 0, 1] {
        agent.exited(id, id as u8).await;
        let exec = &execs[id as usize];
        assert_eq!(exec.wait().await.unwrap(), ExitStatus::Code { code: id as u8 });
        let expect: Vec<u8> = (0..10).map(|round| round + 10 * id as u8).collect();
        assert_eq!(sinks[id as usize].bytes(), expect);
    }
}

#[tokio::test]
async fn signals_and_sizes_are_passed_on() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let exec = session.exec(request(4, false), io(&none, &none));
    let size = TtySize { rows: 24, cols: 80 };
    exec.signal(15);
    exec.resize(size);
    session.shutdown();
    agent.message().await;
    assert_eq!(agent.message().await, HostMessage::Signal { id: 4, signal: 15 });
    assert_eq!(agent.message().await, HostMessage::Resize { id: 4, size });
    assert_eq!(agent.message().await, HostMessage::Shutdown);
}

#[tokio::test]
async fn a_command_that_was_not_started_says_why() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let exec = session.exec(request(1, false), io(&none, &none));
    let status = ExitStatus::NotStarted { code: 127, message: "not found".to_owned() };
    agent.send(AgentMessage::Exited { id: 1, status: status.clone() }).await;
    assert_eq!(exec.started().await.unwrap(), None);
    assert_eq!(exec.wait().await.unwrap(), status);
}

#[tokio::test]
async fn input_waits_for_credit_and_then_goes_on() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let input: Vec<u8> = (0..3 * WINDOW).map(|n| (n % 251) as u8).collect();
    let stdin = std::io::Cursor::new(input.clone());
    let streams = ExecIo { stdin: Some(Box::new(stdin)), ..io(&none, &none) };
    let exec = session.exec(request(1, true), streams);
    agent.message().await;
    let mut received = Vec::new();
    while received.len() < WINDOW as usize {
        let (kind, bytes) = agent.receive().await;
        assert_eq!(kind, Kind::Data { stream: Stream::Stdin, id: 1 });
        received.extend(bytes);
    }
    assert_eq!(received.len(), WINDOW as usize);
    // All credit is used up: the next thing to come is what overtakes the input.
    exec.signal(10);
    assert_eq!(agent.message().await, HostMessage::Signal { id: 1, signal: 10 });
    loop {
        let credit = AgentMessage::Credit { id: 1, stream: Stream::Stdin, bytes: 32 << 10 };
        agent.send(credit).await;
        let (_, bytes) = agent.receive().await;
        if bytes.is_empty() {
            break;
        }
        received.extend(bytes);
    }
    assert!(received == input);
}

#[tokio::test]
async fn a_request_for_input_without_a_source_gets_its_end() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let _exec = session.exec(request(1, true), io(&none, &none));
    agent.message().await;
    assert_eq!(agent.receive().await, (Kind::Data { stream: Stream::Stdin, id: 1 }, Vec::new()));
}

#[tokio::test]
async fn a_stalled_output_holds_up_nothing_else() {
    let (session, mut agent) = session().await;
    let (out, err, other) = (TestSink::new(Mode::Stalls), TestSink::default(), TestSink::default());
    let exec = session.exec(request(1, false), io(&out, &err));
    let quick = session.exec(request(2, false), io(&other, &other));
    agent.message().await;
    agent.message().await;
    let full = vec![1; WINDOW as usize];
    agent.data(1, Stream::Stdout, &full).await;
    // More of the other stream than one window, so credit has to flow.
    let mut credit = WINDOW;
    for _ in 0..20 {
        agent.data(1, Stream::Stderr, &[2; MAX_DATA]).await;
        credit -= MAX_DATA as u32;
        while credit < MAX_DATA as u32 {
            let HostMessage::Credit { id: 1, stream: Stream::Stderr, bytes } =
                agent.message().await
            else {
                panic!("something else than credit")
            };
            credit += bytes;
        }
    }
    agent.exited(2, 0).await;
    assert_eq!(quick.wait().await.unwrap(), ExitStatus::Code { code: 0 });
    agent.exited(1, 5).await;
    // The end is told when the output has been taken, and not before.
    let (status, ()) = tokio::join!(exec.wait(), async {
        tokio::task::yield_now().await;
        assert!(out.bytes().is_empty());
        out.set(Mode::Takes);
    });
    assert_eq!(status.unwrap(), ExitStatus::Code { code: 5 });
    assert!(out.bytes() == full && err.bytes().len() == 20 * MAX_DATA);
}

#[tokio::test]
async fn a_broken_sink_is_told_and_the_command_goes_on() {
    let (session, mut agent) = session().await;
    let (out, err) = (TestSink::new(Mode::Breaks), TestSink::default());
    let exec = session.exec(request(1, false), io(&out, &err));
    agent.message().await;
    for _ in 0..3 {
        agent.data(1, Stream::Stdout, &[1; MAX_DATA]).await;
        let credit = HostMessage::Credit { id: 1, stream: Stream::Stdout, bytes: 64 << 10 };
        assert_eq!(agent.message().await, credit);
    }
    let broken = exec.broken().await;
    assert_eq!(broken.stream, Stream::Stdout);
    assert_eq!(broken.error.kind(), std::io::ErrorKind::BrokenPipe);
    agent.data(1, Stream::Stderr, b"still").await;
    agent.exited(1, 0).await;
    assert_eq!(exec.wait().await.unwrap(), ExitStatus::Code { code: 0 });
    assert_eq!(err.bytes(), b"still");
}

#[tokio::test]
async fn sinks_come_back_even_from_a_command_that_goes_on() {
    let (session, mut agent) = session().await;
    let (out, err) = (TestSink::default(), TestSink::new(Mode::Stalls));
    let exec = session.exec(request(1, false), io(&out, &err));
    agent.message().await;
    agent.data(1, Stream::Stderr, b"stuck").await;
    let (mut stdout, _) = exec.into_sinks().await;
    tokio::io::AsyncWriteExt::write_all(&mut stdout, b"ours").await.unwrap();
    assert_eq!(out.bytes(), b"ours");
}

#[tokio::test]
async fn an_id_in_use_is_an_error_of_the_request_alone() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let first = session.exec(request(1, false), io(&none, &none));
    let second = session.exec(request(1, false), io(&none, &none));
    let text = second.wait().await.unwrap_err().to_string();
    assert_eq!(text, "the request cannot be sent: the command's id 1 is in use");
    let mut long = request(2, false);
    long.argv.push("x".repeat(1 << 20));
    let text = session.exec(long, io(&none, &none)).wait().await.unwrap_err().to_string();
    assert!(text.starts_with("the request cannot be sent: message of 1048"), "{text}");
    agent.exited(1, 0).await;
    assert!(first.wait().await.is_ok());
}
