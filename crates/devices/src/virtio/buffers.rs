//! The memory that a descriptor chain names.

use virtio_queue::DescriptorChain;
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
