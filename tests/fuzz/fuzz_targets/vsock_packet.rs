//! What comes to the vsock device as plain bytes: headers of packets, first lines of host
//! programs, and the frames of a network's stream, which are read in the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microagent_devices::virtio::net::{Frames, MAX_FRAME};
use microagent_devices::virtio::vsock::{ConnectRequest, HEADER_LEN, Header, Kind, parse_connect};
use microagent_fuzz::Input;

fn header(bytes: [u8; HEADER_LEN]) {
    let header = Header::from_bytes(&bytes);
    assert_eq!(header.to_bytes(), bytes);
    if let Some(kind) = header.kind() {
        assert!(header.len <= 64 << 10);
        assert_eq!(kind == Kind::Request, header.op == 1);
    }
}

fn first_line(text: &[u8]) {
    match parse_connect(text) {
        ConnectRequest::Port { port, len } => {
            assert!(len <= text.len() && text[..len].ends_with(b"\n"));
            let line = String::from_utf8_lossy(&text[..len]);
            let digits = line.trim_end().strip_prefix("CONNECT ").expect("a request");
            assert_eq!(digits.parse(), Ok(port));
        }
        ConnectRequest::Incomplete => assert!(!text.contains(&b'\n')),
        ConnectRequest::Nonsense => {}
    }
}

/// The frames of a stream are the same in whatever pieces it comes.
fn frames(bytes: &[u8], piece: usize) {
    let mut frames = Frames::default();
    let mut rest = bytes;
    let mut at = 0;
    while !rest.is_empty() {
        let room = frames.room();
        let len = piece.min(rest.len()).min(room.len());
        assert!(len > 0, "no room while no frame is whole");
        room[..len].copy_from_slice(&rest[..len]);
        rest = &rest[len..];
        frames.filled(len);
        while let Ok(Some(frame)) = frames.peek() {
            assert!(frame.len() <= MAX_FRAME);
            assert_eq!(frame, &bytes[at + 4..at + 4 + frame.len()]);
            at += 4 + frame.len();
            frames.consume();
        }
        let is_too_long = bytes[..bytes.len() - rest.len()][at..]
            .first_chunk()
            .is_some_and(|len| u32::from_be_bytes(*len) as usize > MAX_FRAME);
        assert_eq!(frames.peek().is_err(), is_too_long);
        if is_too_long {
            return;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let how = input.byte();
    match how & 3 {
        0 => header(input.array()),
        1 => first_line(input.rest()),
        _ => frames(input.rest(), usize::from(how >> 2) + 1),
    }
});
