//! One round of questions on one interface.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use fulcrum_vrrp::proof::Mac;
use fulcrum_vrrp::{arp, ask};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::vrrp::sockets;

/// How long answers are waited for: a host of the segment answers within a millisecond, one that is busy
/// within some tens.
const WINDOW: Duration = Duration::from_millis(500);
/// Frames read after one round of questions: a flood of ARP costs no more than that.
const MOST_FRAMES: usize = 16_384;
/// MACs that are kept of one address: more of them, such as forged ones, are no other news.
const MOST_MACS: usize = 32;

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The interface's own MAC.
    pub(super) own: Mac,
    /// By address that was asked for: each MAC that claimed it, and whether by an answer.
    pub(super) claims: BTreeMap<Ipv4Addr, BTreeMap<Mac, bool>>,
}

/// Asks who has each of these addresses, as one that has none itself (RFC 5227 §2.1.1).
///
/// # Errors
/// What the kernel says: `NotFound` without an Ethernet interface of the name, `ENETDOWN` where it is
/// down.
pub(super) async fn ask(interface: &str, targets: &BTreeSet<Ipv4Addr>) -> io::Result<Answers> {
    let (socket, own) = sockets::open_arp(interface)?;
    for target in targets {
        match socket.send(&ask::arp_request(own, Ipv4Addr::UNSPECIFIED, *target)) {
            Ok(_) => {}
            // A question that is lost is asked again.
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
    }
    // The runtime knows datagram sockets by this name; what it receives by is the same for raw ones.
    let socket = UdpSocket::from_std(socket.into())?;
    let mut answers = Answers { own, claims: BTreeMap::new() };
    let heard = listen(&socket, targets, &mut answers).await;
    // Closing a packet socket waits for the kernel's other processors, which no worker should do.
    tokio::task::spawn_blocking(move || drop(socket));
    heard.map(|()| answers)
}

async fn listen(
    socket: &UdpSocket,
    targets: &BTreeSet<Ipv4Addr>,
    answers: &mut Answers,
) -> io::Result<()> {
    let until = Instant::now() + WINDOW;
    // What is longer than an ARP packet is padding.
    let mut frame = [0; arp::FRAME_BYTES];
    for _ in 0..MOST_FRAMES {
        let Ok(received) = tokio::time::timeout_at(until, socket.recv(&mut frame)).await else {
            return Ok(());
        };
        take(&frame[..received?], targets, answers);
    }
    Ok(())
}

fn take(frame: &[u8], targets: &BTreeSet<Ipv4Addr>, answers: &mut Answers) {
    let Some((mac, address)) = arp::claim(frame) else { return };
    if mac == answers.own || !targets.contains(&address) {
        return;
    }
    let claims = answers.claims.entry(address).or_default();
    if claims.len() < MOST_MACS || claims.contains_key(&mac) {
        *claims.entry(mac).or_default() |= arp::is_reply(frame);
    }
}

fn is_full(error: &io::Error) -> bool {
    let is_out_of_buffers = error.raw_os_error() == Some(nix::libc::ENOBUFS);
    is_out_of_buffers || error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_others_to_what_was_asked_are_kept() {
        let (vip, other) = (Ipv4Addr::new(10, 0, 0, 150), Ipv4Addr::new(10, 0, 0, 7));
        let targets = BTreeSet::from([vip]);
        let own = [2, 0, 0, 0, 0, 1];
        let mut answers = Answers { own, claims: BTreeMap::new() };
        let announced = arp::announcement([2, 0, 0, 0, 0, 2], vip);
        let mut answered = arp::announcement([2, 0, 0, 0, 0, 3], vip);
        answered[21] = 2;
        let frames = [
            announced,
            answered,
            arp::announcement(own, vip),
            arp::announcement([2, 0, 0, 0, 0, 4], other),
            ask::arp_request([2, 0, 0, 0, 0, 5], Ipv4Addr::UNSPECIFIED, vip),
        ];
        for frame in frames {
            take(&frame, &targets, &mut answers);
            take(&frame[..41], &targets, &mut answers);
        }
        let claims = BTreeMap::from([([2, 0, 0, 0, 0, 2], false), ([2, 0, 0, 0, 0, 3], true)]);
        assert_eq!(answers.claims, BTreeMap::from([(vip, claims)]));
        for last in 0..200 {
            take(&arp::announcement([2, 1, 0, 0, 0, last], vip), &targets, &mut answers);
        }
        assert_eq!(answers.claims[&vip].len(), MOST_MACS);
    }
}
