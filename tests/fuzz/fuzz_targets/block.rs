//! The block device with a file in memory, and a hostile driver.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;

use libfuzzer_sys::fuzz_target;
use microagent_devices::testing::Buffer;
use microagent_devices::virtio::block::{Block, Config, HEADER_LEN, ID_LEN, SECTOR};
use microagent_devices::virtio::device::VirtioDevice;
use microagent_fuzz::{Device, Driven, Input, Request, memory_file, run};
use vm_memory::{Bytes, GuestAddress};

const SECTORS: u64 = 24;
const LEN: usize = (SECTORS * SECTOR) as usize;
/// Types of requests (virtio 1.2, 5.2.6), and one that does not exist.
const KINDS: [u32; 7] = [0, 1, 4, 8, 11, 13, 2];
const GET_ID: u32 = 8;
const ID: &[u8] = b"root";

struct Disk {
    file: File,
    read_only: bool,
}

fn pattern() -> Vec<u8> {
    (0..LEN).map(|at| (at / SECTOR as usize + 1) as u8).collect()
}

impl Device for Disk {
    const QUEUES: usize = 1;

    fn make(input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>) {
        let disk = Self { file: memory_file(&pattern()), read_only: input.byte() & 1 == 1 };
        let file = disk.file.try_clone().expect("a descriptor");
        let id = String::from_utf8_lossy(ID).into_owned();
        let device = Block::new(Config { id, file, read_only: disk.read_only });
        (disk, Box::new(device.expect("a disk of whole sectors")))
    }

    fn request(&self, input: &mut Input<'_>) -> Request {
        let kind = KINDS[usize::from(input.byte()) % KINDS.len()];
        let (sector, sectors) = (u64::from(input.number()), usize::from(input.byte() & 15));
        let mut readable = kind.to_le_bytes().to_vec();
        readable.extend([0; 4]);
        readable.extend(sector.to_le_bytes());
        let mut writable = 1;
        match kind {
            0 => writable += (sectors * SECTOR as usize) as u32,
            1 => readable.extend(vec![input.byte(); sectors * SECTOR as usize]),
            GET_ID => writable += ID_LEN as u32,
            11 | 13 => {
                for _ in 0..sectors {
                    readable.extend(u64::from(input.number()).to_le_bytes());
                    readable.extend(input.number().to_le_bytes());
                    readable.extend(u32::from(input.byte()).to_le_bytes());
                }
            }
            _ => {}
        }
        Request { queue: 0, readable, writable }
    }

    fn works(&mut self, Driven { driver, memory, queues }: &mut Driven<'_, '_>) {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&GET_ID.to_le_bytes());
        memory.write_slice(&header, GuestAddress(0x8000)).expect("memory");
        let head = queues[0].offer(&[
            Buffer::Readable(0x8000, HEADER_LEN as u32),
            Buffer::Writable(0x9000, ID_LEN as u32),
            Buffer::Writable(0xa000, 1),
        ]);
        driver.kick(0);
        assert_eq!(queues[0].take_used(), Some((head, ID_LEN as u32 + 1)));
        let mut id = [0; ID.len()];
        memory.read_slice(&mut id, GuestAddress(0x9000)).expect("memory");
        assert_eq!(id, ID);
    }

    fn check(&self) {
        let len = self.file.metadata().expect("a file in memory").len();
        assert_eq!(len, LEN as u64, "the length of the image changed");
        if self.read_only {
            let mut now = vec![0; LEN];
            self.file.read_exact_at(&mut now, 0).expect("a file in memory");
            assert!(now == pattern(), "a disk that is read-only was written to");
        }
    }
}

fuzz_target!(|data: &[u8]| run::<Disk>(data));
