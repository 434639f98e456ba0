//! What guest agent and host say to each other: frames, and the messages in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::limit_allocations;
use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind, MAX_CONTROL, MAX_DATA};
use microagent_guest_protocol::{AgentMessage, HostMessage};

/// What is read can be written, and is the same when it is read again.
fn message(payload: &[u8]) {
    if let Ok(message) = AgentMessage::parse(payload) {
        let frame = message.to_frame().expect("what was read fits");
        assert_eq!(AgentMessage::parse(&frame[HEADER_LEN..]).expect("it was written"), message);
    }
    if let Ok(message) = HostMessage::parse(payload) {
        let frame = message.to_frame().expect("what was read fits");
        assert_eq!(HostMessage::parse(&frame[HEADER_LEN..]).expect("it was written"), message);
    }
}

fn stream(mut bytes: &[u8]) {
    while let Some((front, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let Ok(header) = Header::decode(front) else { return };
        assert_eq!(header.encode(), *front);
        let payload = &rest[..header.len.min(rest.len())];
        match header.kind {
            Kind::Control => {
                assert!(header.len <= MAX_CONTROL);
                message(payload);
            }
            Kind::Data { .. } => assert!(header.len <= MAX_DATA),
        }
        bytes = &rest[payload.len()..];
    }
}

fuzz_target!(init: limit_allocations(1 << 20), |data: &[u8]| {
    // Text of a message alone, or a stream of frames.
    if data.first() == Some(&b'{') { message(data) } else { stream(data) }
});
