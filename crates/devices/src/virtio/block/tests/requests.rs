//! Every request, done and refused.

use proptest::prelude::{ProptestConfig, proptest};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::driver::{
    DATA, Guest, HEADER, IOERR, OK, SECTORS, SIZE, STATUS, UNSUPP, file, guest_memory, pattern,
};
use crate::testing::{Buffer, DriverQueue, Recorder, activation};
use crate::virtio::block::protocol::{feature, kind};
use crate::virtio::block::{Block, BlockError, Config};
use crate::virtio::device::{Counters, DeviceError, VirtioDevice};

fn segment(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    let fields = [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()];
    fields.concat()
}

#[test]
fn reads() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, true);
    let mut check = |sector: u64, lens: &[u32]| {
        let total: u32 = lens.iter().sum();
        // Not in their order in memory.
        let place = |at: usize| DATA + (lens.len() - at) as u64 * 0x1_0000;
        let buffers = lens.iter().enumerate().map(|(at, len)| Buffer::Writable(place(at), *len));
        let buffers: Vec<_> = buffers.collect();
        assert_eq!(guest.request(kind::IN, sector, &buffers), (OK, total + 1));
        let read = lens.iter().enumerate().map(|(at, len)| guest.get(place(at), *len as usize));
        let read = read.collect::<Vec<_>>().concat();
        assert_eq!(read, guest.on_disk(sector, total as usize), "{lens:?} from {sector}");
    };
    check(0, &[512]);
    check(7, &[4096]);
    check(SECTORS - 1, &[512]);
    check(100, &[512, 512, 4096, 512]);
    check(100, &[1, 510, 1]);
    check(0, &[0x8000; 20]);
    check(3, &[16; 32]);
}

#[test]
fn writes() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    let mut expect = pattern().to_vec();
    let mut check = |sector: u64, lens: &[u32]| {
        let total = lens.iter().sum::<u32>() as usize;
        let data: Vec<u8> = (0..total).map(|at| (at * 7 + 3) as u8).collect();
        guest.put(DATA, &data);
        let starts = lens.iter().scan(DATA, |at, len| {
            *at += u64::from(*len);
            Some(Buffer::Readable(*at - u64::from(*len), *len))
        });
        let buffers: Vec<_> = starts.collect();
        assert_eq!(guest.request(kind::OUT, sector, &buffers), (OK, 1));
        let from = sector as usize * 512;
        expect[from..from + total].copy_from_slice(&data);
        assert_eq!(guest.on_disk(0, expect.len()), expect, "{lens:?} from {sector}");
    };
    check(0, &[512]);
    check(SECTORS - 2, &[1024]);
    check(11, &[512, 1536]);
    check(11, &[100, 400, 12]);
    check(64, &[0x1_0000, 0x1_0000]);
    assert_eq!(guest.request(kind::FLUSH, 0, &[]), (OK, 1));
    let metrics = guest.device.metrics();
    assert_eq!((metrics.writes, metrics.flushes, metrics.malformed), (5, 1, 0));
    let moved = 512 + 1024 + 2048 + 512 + 0x2_0000;
    let counters = Counters { chains: 6, bytes_from_guest: moved, ..Counters::default() };
    assert_eq!(guest.device.counters(), counters);
}

#[test]
fn header_data_and_status_anywhere() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    // The header in two, its second part with the data behind it.
    guest.prepare(kind::OUT, 5);
    guest.put(HEADER + 16, &[0x77; 512]);
    let parts =
        [Buffer::Readable(HEADER, 3), Buffer::Readable(HEADER + 3, 13 + 512), status(STATUS, 1)];
    guest.queue.offer(&parts);
    guest.device.queue_kicked(0).unwrap();
    assert_eq!(guest.get(STATUS, 1), [OK]);
    assert_eq!(guest.on_disk(5, 512), [0x77; 512]);
    // The status right behind the data.
    guest.prepare(kind::IN, 5);
    guest.queue.offer(&[Buffer::Readable(HEADER, 16), status(DATA, 513)]);
    guest.device.queue_kicked(0).unwrap();
    assert_eq!(guest.get(DATA, 512), [0x77; 512]);
    assert_eq!(guest.get(DATA + 512, 1), [OK]);
    assert_eq!(guest.queue.take_used().map(|(_, len)| len), Some(1));
    assert_eq!(guest.queue.take_used().map(|(_, len)| len), Some(513));
}

fn status(at: u64, len: u32) -> Buffer {
    Buffer::Writable(at, len)
}

#[test]
fn serial_number() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, true);
    assert_eq!(guest.request(kind::GET_ID, 0, &[Buffer::Writable(DATA, 20)]), (OK, 21));
    assert_eq!(guest.get(DATA, 20), b"root\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn ranges_without_data() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    let mut expect = pattern().to_vec();
    let mut check = |kind: u32, segments: &[(u64, u32, u32)], status: u8| {
        let bytes: Vec<_> = segments.iter().flat_map(|&(s, c, f)| segment(s, c, f)).collect();
        guest.put(DATA, &bytes);
        let data = [Buffer::Readable(DATA, bytes.len() as u32)];
        assert_eq!(guest.request(kind, 0, &data), (status, 1), "{kind}: {segments:?}");
        if status == OK {
            for &(sector, count, _) in segments {
                expect[sector as usize * 512..][..count as usize * 512].fill(0);
            }
        }
        assert_eq!(guest.on_disk(0, expect.len()), expect, "{kind}: {segments:?}");
    };
    check(kind::DISCARD, &[(8, 8, 0)], OK);
    check(kind::DISCARD, &[(32, 64, 0), (128, 3, 0), (SECTORS - 8, 8, 0)], OK);
    check(kind::WRITE_ZEROES, &[(200, 9, 1)], OK);
    // All are looked at before the first is done.
    check(kind::DISCARD, &[(300, 8, 0), (SECTORS, 1, 0)], IOERR);
    check(kind::DISCARD, &[(300, 8, 0), (400, 1, 1)], UNSUPP);
    check(kind::WRITE_ZEROES, &[(300, 8, 4)], UNSUPP);
    check(kind::DISCARD, &[(300, 0, 0)], IOERR);
    check(kind::DISCARD, &[(300, 8, 0); 17], IOERR);
    let len = guest.file.metadata().unwrap().len();
    assert_eq!(len, SECTORS * 512, "the file keeps its length");
}

#[test]
fn zeroes_that_take_room() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    guest.put(DATA, &segment(16, 16, 0));
    let (status, _) = guest.request(kind::WRITE_ZEROES, 0, &[Buffer::Readable(DATA, 16)]);
    // Not every file system can; then the guest writes them.
    match status {
        OK => assert_eq!(guest.on_disk(16, 8192), [0; 8192]),
        status => assert_eq!(status, UNSUPP),
    }
}

#[test]
fn a_host_that_cannot() {
    let memory = guest_memory();
    // Shorter than the guest was told.
    let mut guest = Guest::new(&memory, false);
    guest.file.set_len(4096).unwrap();
    assert_eq!(guest.request(kind::IN, 7, &[Buffer::Writable(DATA, 512)]), (OK, 513));
    assert_eq!(guest.request(kind::IN, 7, &[Buffer::Writable(DATA, 1024)]), (IOERR, 0));
    assert_eq!(guest.request(kind::IN, 100, &[Buffer::Writable(DATA, 512)]), (IOERR, 0));
    assert_eq!(guest.device.metrics().host_errors, 2);
    // Not open for writing.
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), pattern()).unwrap();
    let image = std::fs::File::open(path.path()).unwrap();
    let mut guest = Guest::with_file(&memory, image, false);
    assert_eq!(guest.request(kind::OUT, 0, &[Buffer::Readable(DATA, 512)]), (IOERR, 1));
    assert_eq!(guest.device.metrics().host_errors, 1);
    guest.still_works();
}

#[test]
fn a_read_only_disk() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, true);
    let features = guest.device.features();
    let offered = features & (feature::RO | feature::DISCARD | feature::WRITE_ZEROES);
    assert_eq!(offered, feature::RO);
    assert_eq!(guest.request(kind::OUT, 0, &[Buffer::Readable(DATA, 512)]), (IOERR, 1));
    guest.put(DATA, &segment(0, 8, 0));
    assert_eq!(guest.request(kind::DISCARD, 0, &[Buffer::Readable(DATA, 16)]), (IOERR, 1));
    assert_eq!(guest.request(kind::WRITE_ZEROES, 0, &[Buffer::Readable(DATA, 16)]), (IOERR, 1));
    assert_eq!(guest.request(kind::FLUSH, 0, &[]), (OK, 1));
    assert_eq!(guest.on_disk(0, 1 << 20), pattern());
    assert_eq!((guest.device.metrics().refused, guest.device.metrics().malformed), (3, 0));
}

#[test]
fn a_driver_that_does_not_flush() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    guest.activate(1 << VIRTIO_F_VERSION_1);
    guest.put(DATA, &[1; 512]);
    assert_eq!(guest.request(kind::OUT, 0, &[Buffer::Readable(DATA, 512)]), (OK, 1));
    assert_eq!(guest.on_disk(0, 512), [1; 512]);
}

#[test]
fn reset_and_on() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    let features = guest.device.features();
    guest.still_works();
    guest.device.reset();
    // Inactive: nothing is touched.
    guest.prepare(kind::IN, 0);
    guest.queue.offer(&[Buffer::Readable(HEADER, 16), status(DATA, 513)]);
    guest.device.queue_kicked(0).unwrap();
    guest.device.host_ready(0).unwrap();
    assert_eq!(guest.queue.take_used(), None);
    guest.device.reset();
    guest.activate(features);
    guest.still_works();
    guest.activate(features);
    guest.still_works();
    assert_eq!(guest.device.counters().chains, 3);
}

#[test]
fn one_interrupt_for_all_that_there_is() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    guest.prepare(kind::IN, 1);
    let read = [Buffer::Readable(HEADER, 16), Buffer::Writable(DATA, 512), status(STATUS, 1)];
    let all = |guest: &mut Guest<'_>, count: u32, interrupts: u32| {
        (0..count).for_each(|_| _ = guest.queue.offer(&read));
        guest.device.queue_kicked(0).unwrap();
        assert_eq!(guest.interrupt.take_used(0), interrupts);
        let used = std::iter::from_fn(|| guest.queue.take_used()).count();
        assert_eq!(used, count as usize);
    };
    all(&mut guest, 1, 1);
    all(&mut guest, 85, 1);
    all(&mut guest, 0, 0);
    // One that does not want to be told until it has seen them all.
    let flags = guest.queue.addresses()[1];
    guest.activate(1 << VIRTIO_F_VERSION_1);
    guest.put(flags, &1u16.to_le_bytes());
    all(&mut guest, 20, 0);
    guest.put(flags, &0u16.to_le_bytes());
    all(&mut guest, 20, 1);
    // A driver that is told of some may go on while the device does.
    guest.activate(1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX);
    let large =
        [Buffer::Readable(HEADER, 16), Buffer::Writable(DATA, 512 << 10), status(STATUS, 1)];
    (0..4).for_each(|_| _ = guest.queue.offer(&large));
    guest.device.queue_kicked(0).unwrap();
    assert_eq!(guest.interrupt.take_used(0), 1, "it has not looked at the first yet");
}

#[test]
fn indices_go_round() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, true);
    for round in 0..70_000u64 {
        let sector = round % SECTORS;
        let data = [Buffer::Writable(DATA, 512)];
        assert_eq!(guest.request(kind::IN, sector, &data), (OK, 513), "round {round}");
        assert_eq!(guest.interrupt.take_used(0), 1, "round {round}");
    }
}

#[test]
fn what_cannot_be_a_disk() {
    let config = |id: &str, len: usize| {
        Block::new(Config { id: id.into(), file: file(&vec![0; len]), read_only: false })
    };
    assert!(matches!(config("root", 513), Err(BlockError::Len { len: 513, .. })));
    assert!(matches!(config("12345678901234567890+", 512), Err(BlockError::Id { .. })));
    assert_eq!(config("12345678901234567890", 512).unwrap().name(), "block:12345678901234567890");
    let mut capacity = [0; 8];
    config("d", 5120).unwrap().read_config(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 10);
}

#[test]
fn queues_that_cannot_be_used() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, true);
    let features = guest.device.features();
    let mut check = |queue: Option<&DriverQueue<'_>>, expect| {
        let activation = activation(&guest.device, &memory, features, &[queue], &Recorder::new());
        assert_eq!(guest.device.activate(activation), expect);
    };
    check(None, Err(DeviceError::QueueMissing { queue: 0 }));
    let outside = DriverQueue::new(&memory, 0x3f_f000, SIZE);
    check(Some(&outside), Err(DeviceError::BrokenQueue { queue: 0 }));
    check(Some(&DriverQueue::new(&memory, 0x1000, 1)), Ok(()));
    guest.device.queue_kicked(7).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        sector in 0u64..SECTORS - 64, pieces in proptest::collection::vec(1u32..3000, 1..12),
        seed: u8,
    ) {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        let sum: u32 = pieces.iter().sum();
        let total = sum.next_multiple_of(512).min(64 * 512);
        let data: Vec<u8> = (0..total).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
        guest.put(DATA, &data);
        let write = [Buffer::Readable(DATA, total)];
        assert_eq!(guest.request(kind::OUT, sector, &write), (OK, 1));
        let (mut at, mut left) = (DATA + 0x10_0000, total);
        let mut buffers = Vec::new();
        for piece in pieces.iter().copied().chain([total]) {
            let len = piece.min(left);
            buffers.push(Buffer::Writable(at, len));
            (at, left) = (at + u64::from(len), left - len);
        }
        assert_eq!(guest.request(kind::IN, sector, &buffers), (OK, total + 1));
        assert_eq!(guest.get(DATA + 0x10_0000, total as usize), data);
    }
}
