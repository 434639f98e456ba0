//! Who may send how much: virtio 1.2, section 5.10.6.3.

use std::num::Wrapping;

use super::packet::Header;

/// How much of what the guest sends is held for one connection while its host end does not
/// take it, in bytes.
pub(crate) const BUFFER: u32 = 256 << 10;

/// When the guest is told unasked that it may send more: it knows of this little room or
/// less, in bytes. High enough that a sender of full packets need not wait for it.
const TELL_BELOW: u32 = BUFFER / 2;

/// The accounts of one connection. Counts run modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Credit {
    guest_buffer: u32,
    guest_forwarded: Wrapping<u32>,
    sent: Wrapping<u32>,
    received: Wrapping<u32>,
    forwarded: Wrapping<u32>,
    told: Wrapping<u32>,
}

impl Credit {
    /// Takes what any packet of the guest says about its side.
    pub(crate) fn learn(&mut self, header: &Header) {
        self.guest_buffer = header.buf_alloc;
        self.guest_forwarded = Wrapping(header.fwd_cnt);
    }

    /// How much may be sent to the guest, in bytes.
    pub(crate) fn guest_room(&self) -> u32 {
        // A guest that claims to have passed on what was never sent gains nothing.
        self.guest_buffer.saturating_sub((self.sent - self.guest_forwarded).0)
    }

    /// `len` bytes went to the guest.
    pub(crate) fn sent(&mut self, len: u32) {
        self.sent += len;
    }

    /// `len` bytes came from the guest. False if it had no right to send as many.
    pub(crate) fn received(&mut self, len: u32) -> bool {
        self.received += len;
        (self.received - self.forwarded).0 <= BUFFER
    }

    /// `len` bytes went on to the host end, or nowhere since it is gone.
    pub(crate) fn forwarded(&mut self, len: u32) {
        self.forwarded += len;
    }

    /// Whether the guest should be told that it may send more.
    pub(crate) fn is_news(&self) -> bool {
        let room_it_knows = BUFFER - (self.received - self.told).0.min(BUFFER);
        self.forwarded != self.told && room_it_knows <= TELL_BELOW
    }

    /// Puts our side into a packet for the guest, which then knows it.
    pub(crate) fn tell(&mut self, header: &mut Header) {
        header.buf_alloc = BUFFER;
        header.fwd_cnt = self.forwarded.0;
        self.told = self.forwarded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(credit: &mut Credit, buf_alloc: u32, fwd_cnt: u32) {
        credit.learn(&Header { buf_alloc, fwd_cnt, ..Header::default() });
    }

    #[test]
    fn what_may_go_to_the_guest() {
        let mut credit = Credit::default();
        assert_eq!(credit.guest_room(), 0);
        learn(&mut credit, 100, 0);
        credit.sent(60);
        assert_eq!(credit.guest_room(), 40);
        learn(&mut credit, 100, 50);
        assert_eq!(credit.guest_room(), 90);
        learn(&mut credit, 5, 50);
        assert_eq!(credit.guest_room(), 0);
        // It claims to have forwarded more than it got.
        learn(&mut credit, 100, 61);
        assert_eq!(credit.guest_room(), 0);
    }

    #[test]
    fn counts_wrap() {
        let mut credit = Credit { sent: Wrapping(u32::MAX - 9), ..Credit::default() };
        learn(&mut credit, 100, u32::MAX - 9);
        credit.sent(20);
        assert_eq!(credit.guest_room(), 80);
        learn(&mut credit, 100, 10);
        assert_eq!(credit.guest_room(), 100);
    }

    #[test]
    fn what_the_guest_may_send() {
        let mut credit = Credit::default();
        assert!(credit.received(BUFFER));
        assert!(!credit.is_news(), "nothing was forwarded");
        credit.forwarded(1);
        assert!(credit.is_news());
        let mut header = Header::default();
        credit.tell(&mut header);
        assert_eq!((header.buf_alloc, header.fwd_cnt), (BUFFER, 1));
        assert!(!credit.is_news());
        assert!(credit.received(1));
        assert!(!credit.received(1));
    }
}
