//! Uncompressed bytes of the layers, one after another.
//!
//! Inflating is the slowest step of a build, so it has a thread of its own and
//! hands over buffers; hashing, parsing and spooling run on the caller's. At
//! most [`BUFFERS`] buffers exist, whatever the layers hold.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest, Sha256};

use crate::fault::{Fault, within};
use crate::{Compression, LayerInput, Limits};

/// Bytes handed over at a time.
pub(super) const BUFFER: usize = 512 * 1024;

/// Buffers in flight.
const BUFFERS: usize = 6;

/// Bytes read from a layer's file at a time.
const FILE_BUFFER: usize = 128 * 1024;

/// Largest zstd window that is accepted, as a power of two: zstd's own default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

enum Message {
    /// Uncompressed bytes, and how many bytes of all layer files were read so far.
    Bytes(Vec<u8>, u64),
    /// The layer ended where it should.
    End,
    Failed(Fault),
}

/// The consuming end: the layers' bytes in order.
pub(crate) struct Feed<'a> {
    messages: Receiver<Message>,
    recycle: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    layer_bytes: u64,
    layer_started_at: u64,
    compressed: u64,
    total_bytes: u64,
    hasher: Option<Sha256>,
    limits: &'a Limits,
    progress: &'a dyn Fn(u64),
}

impl<'a> Feed<'a> {
    /// Makes the two ends; [`decompress_all`] runs with the second on a thread.
    pub(crate) fn new(limits: &'a Limits, progress: &'a dyn Fn(u64)) -> (Self, Producer) {
        let (send, messages) = sync_channel(BUFFERS);
        let (recycle, empty) = sync_channel(BUFFERS);
        let feed = Self {
            messages,
            recycle,
            buffer: Vec::new(),
            at: 0,
            ended: true,
            layer_bytes: 0,
            layer_started_at: 0,
            compressed: 0,
            total_bytes: 0,
            hasher: None,
            limits,
            progress,
        };
        (feed, Producer { send, empty, packed: AtomicU64::new(0) })
    }

    /// Turns to the next layer.
    pub(crate) fn begin(&mut self, hash: Hashing) {
        self.ended = false;
        self.layer_bytes = 0;
        self.layer_started_at = self.compressed;
        self.hasher = match hash {
            Hashing::On => Some(Sha256::new()),
            Hashing::Off => None,
        };
    }

    /// Reads the layer to its end and gives its digest as `sha256:<hex>`.
    pub(crate) fn finish(&mut self) -> Result<Option<String>, Fault> {
        self.at = self.buffer.len();
        while self.refill()? {
            self.at = self.buffer.len();
        }
        Ok(self.hasher.take().map(|h| format!("sha256:{}", hex::encode(h.finalize()))))
    }

    /// Bytes that are at hand; empty only at the end of the layer.
    pub(crate) fn peek(&mut self) -> Result<&[u8], Fault> {
        if self.at == self.buffer.len() {
            self.refill()?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }

    /// Fills `into` as far as the layer reaches.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let mut done = 0;
        while done < into.len() {
            let have = self.peek()?;
            if have.is_empty() {
                break;
            }
            let now = have.len().min(into.len() - done);
            into[done..done + now].copy_from_slice(&have[..now]);
            self.consume(now);
            done += now;
        }
        Ok(done)
    }

    fn refill(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        let spent = std::mem::take(&mut self.buffer);
        self.at = 0;
        if spent.capacity() > 0 {
            // A full pool or an ended producer only means one more allocation.
            let _ = self.recycle.try_send(spent);
        }
        match self.messages.recv() {
            Ok(Message::Bytes(bytes, compressed)) => self.take(bytes, compressed),
            Ok(Message::End) => {
                self.ended = true;
                Ok(false)
            }
            Ok(Message::Failed(fault)) => {
                self.ended = true;
                Err(fault)
            }
            Err(_) => Err(Fault::corrupt("reading it ended without a result")),
        }
    }

    fn take(&mut self, bytes: Vec<u8>, compressed: u64) -> Result<bool, Fault> {
        self.compressed = compressed;
        self.layer_bytes += bytes.len() as u64;
        self.total_bytes += bytes.len() as u64;
        within(self.total_bytes, self.limits.total_bytes, "uncompressed bytes")?;
        let packed = (compressed - self.layer_started_at).max(1);
        if self.layer_bytes > self.limits.ratio_free_bytes {
            within(self.layer_bytes / packed, self.limits.ratio, "times its compressed size")?;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        (self.progress)(compressed);
        self.buffer = bytes;
        Ok(true)
    }
}

/// Whether a layer's digest is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hashing {
    On,
    Off,
}

/// The producing end of a [`Feed`].
pub(crate) struct Producer {
    send: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
    /// Bytes that were handed over by [`Producer::packed`].
    packed: AtomicU64,
}

impl Producer {
    /// Hands over bytes that were never compressed; fails when nobody listens any more.
    pub(super) fn packed(&self, bytes: Vec<u8>) -> Result<(), ()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        let total = self.packed.fetch_add(length, Ordering::Relaxed) + length;
        self.send.send(Message::Bytes(bytes, total)).map_err(|_| ())
    }

    /// Ends an archive.
    pub(super) fn end(&self, how: Result<(), Fault>) {
        // Nobody may listen any more.
        let _ = self.send.send(how.map_or_else(Message::Failed, |()| Message::End));
    }
}

/// Decompresses every layer into the feed; returns early when nobody listens
/// any more.
pub(crate) fn decompress_all(layers: &[LayerInput], producer: &Producer) {
    let read_so_far = Arc::new(AtomicU64::new(0));
    for layer in layers {
        let end = match decompress(layer, producer, &read_so_far) {
            Ok(true) => Message::End,
            Ok(false) => return,
            Err(fault) => Message::Failed(fault),
        };
        let failed = matches!(end, Message::Failed(_));
        if producer.send.send(end).is_err() || failed {
            return;
        }
    }
}

/// One layer; `false` when the consumer is gone.
fn decompress(
    layer: &LayerInput,
    producer: &Producer,
    read_so_far: &Arc<AtomicU64>,
) -> Result<bool, Fault> {
    let mut source = open(layer, read_so_far)?;
    loop {
        let mut buffer = producer.empty.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        let mut filled = 0;
        while filled < BUFFER {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(decoding_fault(layer.compression, error)),
            }
        }
        if filled == 0 {
            return Ok(true);
        }
        buffer.truncate(filled);
        let sent = Message::Bytes(buffer, read_so_far.load(Ordering::Relaxed));
        if producer.send.send(sent).is_err() {
            return Ok(false);
        }
    }
}

fn open(layer: &LayerInput, read_so_far: &Arc<AtomicU64>) -> Result<Box<dyn Read>, Fault> {
    let file = File::open(&layer.path)
        .map_err(|source| Fault::Io { doing: "opening its file", source })?;
    let counted = Counted { file, read_so_far: Arc::clone(read_so_far) };
    let buffered = BufReader::with_capacity(FILE_BUFFER, counted);
    Ok(match layer.compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)
                .map_err(|source| Fault::Io { doing: "starting zstd", source })?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|source| Fault::Io { doing: "setting up zstd", source })?;
            Box::new(decoder)
        }
    })
}

/// The operating system's failures carry an error number; the decoders' do not.
fn decoding_fault(compression: Compression, error: io::Error) -> Fault {
    let name = match compression {
        _ if error.raw_os_error().is_some() => {
            return Fault::Io { doing: "reading its file", source: error };
        }
        Compression::None => return Fault::Io { doing: "reading its file", source: error },
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::corrupt(format!("it is truncated: the {name} stream ends early"))
    } else {
        Fault::corrupt(format!("it is not valid {name}: {error}"))
    }
}

struct Counted {
    file: File,
    read_so_far: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.read_so_far.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
