//! Frames on an asynchronous stream.

use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind};
use microagent_guest_protocol::{AgentMessage, HostMessage, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::SessionError;

/// One frame from the agent.
pub(crate) enum Incoming {
    /// A control message.
    Message(AgentMessage),
    /// So many bytes of output of a command, in [`FrameReader::payload`]; none is its end.
    Output { id: u32, stream: Stream },
}

/// One frame from a host.
pub(crate) enum FromHost {
    /// A control message.
    Message(HostMessage),
    /// Standard input of a command, in [`FrameReader::payload`]; no bytes are its end.
    Input { id: u32 },
}

/// Reads frames, one after the other, into one buffer.
pub(crate) struct FrameReader<R> {
    source: R,
    payload: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, payload: Vec::new() }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// Reads one frame, of at most `max` bytes where that is less than its kind allows.
    pub(crate) async fn read_raw(&mut self, max: usize) -> Result<Kind, SessionError> {
        let mut header = [0; HEADER_LEN];
        self.source.read_exact(&mut header).await?;
        let header = Header::decode(&header)?;
        if header.len > max {
            let (len, text) = (header.len, "bytes where at most");
            return Err(SessionError::Protocol(format!("frame of {len} {text} {max} can be")));
        }
        // Bounded by what the kind allows; memory is taken as bytes come.
        self.payload.clear();
        let mut source = (&mut self.source).take(header.len as u64);
        if source.read_to_end(&mut self.payload).await? < header.len {
            return Err(SessionError::Lost);
        }
        Ok(header.kind)
    }

    pub(crate) async fn read(&mut self) -> Result<Incoming, SessionError> {
        match self.read_raw(usize::MAX).await? {
            Kind::Control => {
                let message = AgentMessage::parse(&self.payload);
                Ok(Incoming::Message(message.map_err(|e| protocol(&e))?))
            }
            Kind::Data { stream: Stream::Stdin, .. } => {
                Err(SessionError::Protocol("data of standard input".to_owned()))
            }
            Kind::Data { stream, id } => Ok(Incoming::Output { id, stream }),
        }
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads one frame of those that a host sends.
    pub(crate) async fn read_from_host(&mut self) -> Result<FromHost, SessionError> {
        match self.read_raw(usize::MAX).await? {
            Kind::Control => {
                let message = HostMessage::parse(&self.payload);
                Ok(FromHost::Message(message.map_err(|e| protocol(&e))?))
            }
            Kind::Data { stream: Stream::Stdin, id } => Ok(FromHost::Input { id }),
            Kind::Data { .. } => Err(SessionError::Protocol("data of an output".to_owned())),
        }
    }
}

/// An error with its cause, as the reason for which a session ended.
pub(crate) fn protocol(error: &dyn std::error::Error) -> SessionError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    SessionError::Protocol(text)
}

/// A data frame for the agent.
pub(crate) fn data_frame(id: u32, bytes: &[u8]) -> Vec<u8> {
    frame_of(id, Stream::Stdin, bytes)
}

/// A data frame.
pub(crate) fn frame_of(id: u32, stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let kind = Kind::Data { stream, id };
    let mut frame = Vec::with_capacity(HEADER_LEN + bytes.len());
    frame.extend_from_slice(&Header { kind, len: bytes.len() }.encode());
    frame.extend_from_slice(bytes);
    frame
}
