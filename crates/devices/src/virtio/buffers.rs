//! The memory that a descriptor chain names.

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestMemory, Permissions, VolatileSlice};

/// How many pieces one chain may have. Ours have two; a driver that sends pages of a program
/// without copying them has one per page of a packet of 64 KiB, and a header.
const MAX_PIECES: usize = 64;

/// A piece of guest memory.
pub(crate) type Piece<'m, M> = VolatileSlice<'m, BS<'m, <M as GuestMemory>::Bitmap>>;

/// What the pieces of a chain are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The device reads them.
    FromDriver,
    /// The device writes them.
    ToDriver,
}

/// A chain that cannot be used as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadChain;

/// The memory of a chain, piece after piece.
pub(crate) struct Buffers<'m, M: GuestMemory> {
    pieces: Vec<Piece<'m, M>>,
    len: usize,
}

impl<'m, M: GuestMemory> Buffers<'m, M> {
    /// Takes the memory of a chain all of whose descriptors go in `direction`.
    pub(crate) fn new(
        memory: &'m M,
        chain: DescriptorChain<&'m M>,
        direction: Direction,
    ) -> Result<Self, BadChain> {
        let access = match direction {
            Direction::FromDriver => Permissions::Read,
            Direction::ToDriver => Permissions::Write,
        };
        let mut buffers = Self { pieces: Vec::with_capacity(2), len: 0 };
        for descriptor in chain {
            if descriptor.is_write_only() != (direction == Direction::ToDriver) {
                return Err(BadChain);
            }
            let pieces = memory
                .get_slices(descriptor.addr(), descriptor.len() as usize, access)
                .map_err(|_| BadChain)?;
            for piece in pieces {
                if buffers.pieces.len() == MAX_PIECES {
                    return Err(BadChain);
                }
                let piece = piece.map_err(|_| BadChain)?;
                buffers.len += piece.len();
                buffers.pieces.push(piece);
            }
        }
        Ok(buffers)
    }

    /// No memory.
    pub(crate) fn empty() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    /// Has no memory again.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.len = 0;
    }

    /// Appends the memory of a chain all of whose descriptors go in `direction`, and says how
    /// long it is. The pieces never become more than `most`.
    pub(crate) fn append(
        &mut self,
        memory: &'m M,
        chain: DescriptorChain<&'m M>,
        direction: Direction,
        most: usize,
    ) -> Result<usize, BadChain> {
        let before = self.len;
        let mut whole = false;
        for descriptor in chain {
            if direction_of(&descriptor) != direction {
                return Err(BadChain);
            }
            self.add(memory, &descriptor, most)?;
            whole = !descriptor.has_next();
        }
        // A chain that loops, or leaves its table, ends where it says that it goes on.
        if whole { Ok(self.len - before) } else { Err(BadChain) }
    }

    fn add(&mut self, memory: &'m M, descriptor: &Descriptor, most: usize) -> Result<(), BadChain> {
        let access = match direction_of(descriptor) {
            Direction::FromDriver => Permissions::Read,
            Direction::ToDriver => Permissions::Write,
        };
        let pieces = memory
            .get_slices(descriptor.addr(), descriptor.len() as usize, access)
            .map_err(|_| BadChain)?;
        for piece in pieces {
            if self.pieces.len() >= most {
                return Err(BadChain);
            }
            let piece = piece.map_err(|_| BadChain)?;
            self.len += piece.len();
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// Reads the first `N` bytes, once, and drops them.
    pub(crate) fn read_front<const N: usize>(&mut self) -> Result<[u8; N], BadChain> {
        let mut bytes = [0; N];
        self.copy_out(0, &mut bytes)?;
        self.drop_front(N)?;
        Ok(bytes)
    }

    /// Takes the last byte off.
    pub(crate) fn pop_byte(&mut self) -> Option<Piece<'m, M>> {
        let last = self.pieces.iter().rposition(|piece| !piece.is_empty())?;
        self.pieces.truncate(last + 1);
        let piece = self.pieces.pop()?;
        let (rest, byte) = piece.split_at(piece.len() - 1).ok()?;
        self.pieces.push(rest);
        self.len -= 1;
        Some(byte)
    }

    /// Reads the bytes from `at` on.
    pub(crate) fn copy_out(&self, at: usize, bytes: &mut [u8]) -> Result<(), BadChain> {
        let mut done = 0;
        self.each(at, bytes.len(), |piece| {
            piece.copy_to(&mut bytes[done..done + piece.len()]);
            done += piece.len();
        })
    }

    /// Writes the bytes to `at` and on.
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) -> Result<(), BadChain> {
        let mut done = 0;
        self.each(at, bytes.len(), |piece| {
            piece.copy_from(&bytes[done..done + piece.len()]);
            done += piece.len();
        })
    }

    /// Calls `with` on the parts of the pieces that make up `len` bytes from `at` on.
    fn each(
        &self,
        at: usize,
        len: usize,
        mut with: impl FnMut(Piece<'m, M>),
    ) -> Result<(), BadChain> {
        let (mut skip, mut left) = (at, len);
        for piece in &self.pieces {
            if left == 0 {
                break;
            }
            let from = skip.min(piece.len());
            skip -= from;
            let count = left.min(piece.len() - from);
            with(piece.subslice(from, count).map_err(|_| BadChain)?);
            left -= count;
        }
        if left == 0 { Ok(()) } else { Err(BadChain) }
    }

    fn drop_front(&mut self, len: usize) -> Result<(), BadChain> {
        let (mut whole, mut left) = (0, len);
        while let Some(piece) = self.pieces.get_mut(whole) {
            if left < piece.len() {
                *piece = piece.offset(left).map_err(|_| BadChain)?;
                left = 0;
                break;
            }
            left -= piece.len();
            whole += 1;
        }
        self.pieces.drain(..whole);
        self.len = self.len.checked_sub(len).ok_or(BadChain)?;
        if left == 0 { Ok(()) } else { Err(BadChain) }
    }

    /// How long all pieces together are, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pieces in their order.
    pub(crate) fn pieces(&self) -> &[Piece<'m, M>] {
        &self.pieces
    }

    /// Takes the first `N` bytes off.
    pub(crate) fn take_front<const N: usize>(&mut self) -> Result<Front<'m, M, N>, BadChain> {
        let rest = self.split_off(N)?;
        Ok(Front(std::mem::replace(self, rest)))
    }

    /// Drops what is after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<(), BadChain> {
        self.split_off(len).map(drop)
    }

    fn split_off(&mut self, at: usize) -> Result<Self, BadChain> {
        if at > self.len {
            return Err(BadChain);
        }
        let mut before = 0;
        let mut index = 0;
        while index < self.pieces.len() && before + self.pieces[index].len() <= at {
            before += self.pieces[index].len();
            index += 1;
        }
        let mut rest = Vec::with_capacity(self.pieces.len() + 1 - index);
        if before < at {
            let (head, tail) = self.pieces[index].split_at(at - before).map_err(|_| BadChain)?;
            self.pieces[index] = head;
            index += 1;
            rest.push(tail);
        }
        rest.extend(self.pieces.drain(index..));
        let len = self.len - at;
        self.len = at;
        Ok(Self { pieces: rest, len })
    }
}

/// The memory of a chain that goes in both directions: what the device reads comes first
/// (virtio 1.2, 2.7.4.2).
pub(crate) struct Both<'m, M: GuestMemory> {
    /// What the device reads.
    pub(crate) readable: Buffers<'m, M>,
    /// What it writes.
    pub(crate) writable: Buffers<'m, M>,
}

impl<'m, M: GuestMemory> Both<'m, M> {
    /// No memory.
    pub(crate) fn empty() -> Self {
        Self { readable: Buffers::empty(), writable: Buffers::empty() }
    }

    /// Takes the memory of a chain of at most `most` pieces to each direction, in place of
    /// what it had. Where it fails it has what comes before that which is wrong.
    pub(crate) fn take(
        &mut self,
        memory: &'m M,
        chain: DescriptorChain<&'m M>,
        most: usize,
    ) -> Result<(), BadChain> {
        self.readable.clear();
        self.writable.clear();
        let mut whole = false;
        for descriptor in chain {
            match direction_of(&descriptor) {
                Direction::ToDriver => self.writable.add(memory, &descriptor, most)?,
                Direction::FromDriver if self.writable.pieces.is_empty() => {
                    self.readable.add(memory, &descriptor, most)?;
                }
                Direction::FromDriver => return Err(BadChain),
            }
            whole = !descriptor.has_next();
        }
        if whole { Ok(()) } else { Err(BadChain) }
    }
}

fn direction_of(descriptor: &Descriptor) -> Direction {
    if descriptor.is_write_only() { Direction::ToDriver } else { Direction::FromDriver }
}

/// The first `N` bytes of a chain.
pub(crate) struct Front<'m, M: GuestMemory, const N: usize>(Buffers<'m, M>);

impl<M: GuestMemory, const N: usize> Front<'_, M, N> {
    /// Reads them, once.
    pub(crate) fn read(&self) -> Result<[u8; N], BadChain> {
        let mut bytes = [0; N];
        let mut at = 0;
        for piece in &self.0.pieces {
            piece.read_slice(&mut bytes[at..at + piece.len()], 0).map_err(|_| BadChain)?;
            at += piece.len();
        }
        Ok(bytes)
    }

    /// Writes them.
    pub(crate) fn write(&self, bytes: &[u8; N]) -> Result<(), BadChain> {
        let mut at = 0;
        for piece in &self.0.pieces {
            piece.write_slice(&bytes[at..at + piece.len()], 0).map_err(|_| BadChain)?;
            at += piece.len();
        }
        Ok(())
    }
}
