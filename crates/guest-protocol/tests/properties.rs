//! Properties of frames and messages, whatever a peer sends.

use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind, MAX_CONTROL, MAX_DATA};
use microagent_guest_protocol::{
    AgentMessage, ExecRequest, ExitStatus, HostMessage, Stream, Token, TtySize, User,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdin), Just(Stream::Stdout), Just(Stream::Stderr)]
}

fn header() -> impl Strategy<Value = Header> {
    prop_oneof![
        (0..=MAX_CONTROL).prop_map(|len| Header { kind: Kind::Control, len }),
        (stream(), any::<u32>(), 0..=MAX_DATA)
            .prop_map(|(stream, id, len)| Header { kind: Kind::Data { stream, id }, len }),
    ]
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![
        any::<u8>().prop_map(|code| ExitStatus::Code { code }),
        any::<i32>().prop_map(|signal| ExitStatus::Signal { signal }),
        (any::<u8>(), any::<String>())
            .prop_map(|(code, message)| ExitStatus::NotStarted { code, message }),
    ]
}

fn from_agent() -> impl Strategy<Value = AgentMessage> {
    prop_oneof![
        (any::<u16>(), any::<[u8; 16]>(), any::<u32>()).prop_map(|(version, bits, session)| {
            AgentMessage::Hello { version, token: Token::new(bits), session }
        }),
        Just(AgentMessage::Ready),
        prop::collection::vec(any::<u32>(), 0..9)
            .prop_map(|commands| AgentMessage::Left { commands }),
        any::<String>().prop_map(|message| AgentMessage::SetupFailed { message }),
        any::<(u32, u32)>().prop_map(|(id, pid)| AgentMessage::Started { id, pid }),
        (any::<u32>(), status()).prop_map(|(id, status)| AgentMessage::Exited { id, status }),
        (any::<u32>(), stream(), any::<u32>())
            .prop_map(|(id, stream, bytes)| AgentMessage::Credit { id, stream, bytes }),
        any::<String>().prop_map(|reason| AgentMessage::Goodbye { reason }),
        vec(any::<String>(), 0..4).prop_map(|failures| AgentMessage::WrittenBack { failures }),
    ]
}

fn size() -> impl Strategy<Value = TtySize> {
    any::<(u16, u16)>().prop_map(|(rows, cols)| TtySize { rows, cols })
}

fn exec() -> impl Strategy<Value = ExecRequest> {
    let texts = || vec(any::<String>(), 0..4);
    let text = any::<String>;
    let tty = proptest::option::of(size());
    (any::<u32>(), texts(), texts(), text(), text(), any::<bool>(), tty).prop_map(
        |(id, argv, env, workdir, user, stdin, tty)| ExecRequest {
            id,
            argv,
            env,
            workdir,
            user: User(user),
            stdin,
            tty,
        },
    )
}

fn from_host() -> impl Strategy<Value = HostMessage> {
    prop_oneof![
        Just(HostMessage::Welcome),
        any::<u32>().prop_map(|id| HostMessage::Resume { id }),
        any::<u32>().prop_map(|id| HostMessage::Abandon { id }),
        any::<(u32, String, String)>().prop_map(|(id, path, name)| HostMessage::Store {
            id,
            path,
            name
        }),
        any::<String>().prop_map(|message| HostMessage::Refused { message }),
        exec().prop_map(HostMessage::Exec),
        (any::<u32>(), stream(), any::<u32>())
            .prop_map(|(id, stream, bytes)| HostMessage::Credit { id, stream, bytes }),
        any::<(u32, i32)>().prop_map(|(id, signal)| HostMessage::Signal { id, signal }),
        (any::<u32>(), size()).prop_map(|(id, size)| HostMessage::Resize { id, size }),
        Just(HostMessage::Shutdown),
    ]
}

proptest! {
    #[test]
    fn headers_round_trip(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn a_header_has_one_form_and_a_bounded_length(bytes in any::<[u8; HEADER_LEN]>()) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
            prop_assert!(header.len <= MAX_CONTROL);
        }
    }

    #[test]
    fn nearly_right_headers_are_decoded_or_refused(
        header in header(), at in 0..HEADER_LEN, byte in any::<u8>(),
    ) {
        let mut bytes = header.encode();
        bytes[at] = byte;
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn messages_of_agents_round_trip(message in from_agent()) {
        let frame = message.to_frame().unwrap();
        let (header, payload) = frame.split_first_chunk().unwrap();
        let expect = Header { kind: Kind::Control, len: payload.len() };
        prop_assert_eq!(Header::decode(header), Ok(expect));
        prop_assert_eq!(AgentMessage::parse(payload).unwrap(), message);
    }

    #[test]
    fn messages_of_hosts_round_trip(message in from_host()) {
        let frame = message.to_frame().unwrap();
        prop_assert_eq!(HostMessage::parse(&frame[HEADER_LEN..]).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (AgentMessage::parse(&bytes), HostMessage::parse(&bytes));
    }
}
