//! Waiting until passt is ready: it opens its ports first and only then reads from its socket,
//! so a question that it answers shows that all of them are open.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use microagent_vmm_protocol::Fencing;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::GatewayError;
use super::passt::Passt;
use super::relay::{Moved, Relay};
use crate::life::Life;

/// How long passt may take to answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Hardware type Ethernet, protocol IPv4, lengths of their addresses (RFC 826).
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
const ARP: [u8; 2] = [0x08, 0x06];
/// The guest's device as passt first hears of it; the guest says its own address later.
const ASKER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// Asks passt for the address of the gateway until it answers.
pub(crate) fn wait(
    passt: &mut Passt,
    relay: &mut Relay,
    fencing: &Fencing,
    life: Option<&Life>,
) -> Result<(), GatewayError> {
    let until = Instant::now() + ANSWER_WITHIN;
    relay.ask(&question(fencing.address, fencing.gateway));
    let mut answered = false;
    loop {
        passt.listen();
        let moved = relay.exchange(passt, |frame| {
            let is_answer = is_answer(frame, fencing.gateway);
            answered |= is_answer;
            !is_answer
        });
        if moved.map_err(GatewayError::Relay)? == Moved::Ended {
            return Err(GatewayError::Ended(passt.last_words()));
        }
        if answered {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(GatewayError::NoAnswer);
        }
        if life_ended(passt, life, left) {
            return Err(GatewayError::NotNeeded);
        }
    }
}

/// Waits until something happens; whether it is the end of the life pipe.
fn life_ended(passt: &Passt, life: Option<&Life>, within: Duration) -> bool {
    let mut fds = vec![PollFd::new(passt.socket(), PollFlags::IN)];
    fds.extend(passt.errors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let watched = fds.len();
    fds.extend(life.map(|life| PollFd::from_borrowed_fd(life.as_fd(), PollFlags::empty())));
    let timeout = Timespec::try_from(within).ok();
    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
    fds.get(watched).is_some_and(|fd| Life::has_ended(fd.revents()))
}

/// Who has the address of the gateway?
fn question(guest: Ipv4Addr, gateway: Ipv4Addr) -> Vec<u8> {
    [
        &[0xff; 6][..],
        &ASKER,
        &ARP,
        &ETHERNET_IPV4,
        &REQUEST,
        &ASKER,
        &guest.octets(),
        &[0; 6],
        &gateway.octets(),
    ]
    .concat()
}

fn is_answer(frame: &[u8], gateway: Ipv4Addr) -> bool {
    frame.get(12..14) == Some(&ARP)
        && frame.get(20..22) == Some(&REPLY)
        && frame.get(28..32) == Some(&gateway.octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_to_the_question() {
        let [guest, gateway] = [2, 1].map(|n| Ipv4Addr::new(10, 0, 0, n));
        let mut frame = question(guest, gateway);
        assert_eq!(frame.len(), 42);
        assert!(!is_answer(&frame, gateway));
        frame[21] = 2;
        assert!(is_answer(&frame, guest), "it comes from whom it says");
        assert!(!is_answer(&frame, gateway));
        frame[28..32].copy_from_slice(&gateway.octets());
        assert!(is_answer(&frame, gateway));
        assert!(!is_answer(&frame[..31], gateway));
    }
}
