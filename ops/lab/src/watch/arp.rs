//! A witness of ARP: asks all hosts of the segment for the VIP and keeps who answers. Each question has a sender address
//! of its own, which its answers repeat, so that a late answer to one question never counts for another.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::owners::{Question, Watched};
use crate::net::mac::Mac;
use crate::net::packet::FrameSocket;
use crate::net::topology::Node;

/// `ETH_P_ARP` (`linux/if_ether.h`).
const ETH_P_ARP: u16 = 0x0806;
/// Time between two questions. Each is answered within 5 ms even on the lab's one processor.
const EVERY: Duration = Duration::from_millis(25);
/// Questions that may be open at once: 100 ms, far more than a living host takes. What comes later was asked of a host that
/// was paused meanwhile, and tells nothing of the time of the question.
const OPEN: usize = 4;
/// The first of the questions' sender addresses, which no host has. 16 bits of them follow: one comes again only after
/// half an hour, so that answers of a machine that was paused meanwhile count for nothing.
const FIRST_TAG: Ipv4Addr = Ipv4Addr::new(10, 254, 0, 0);
/// `ARPOP_REQUEST` and `ARPOP_REPLY` of RFC 826.
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Asks until dropped.
#[derive(Debug)]
pub(crate) struct ArpWitness {
    kept: Arc<Mutex<Vec<Question>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl ArpWitness {
    /// Begins to ask for `vip` from the node.
    pub(crate) fn start(node: Node, vip: Ipv4Addr) -> Result<Self> {
        let socket = FrameSocket::open(node.name, ETH_P_ARP)?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&kept), Arc::clone(&stop));
        let thread = std::thread::spawn(move || ask(&socket, vip, &shared, &stopped));
        Ok(Self { kept, stop, thread: Some(thread) })
    }

    /// What was seen from `from` to `to`; waits until the questions of that time can no longer be answered.
    pub(crate) fn settled(&self, from: Instant, to: Instant) -> Result<Watched> {
        let settled = to + EVERY * 4;
        if let Some(left) = settled.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            bail!("the witness of ARP ended early");
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |question: &&Question| question.asked >= from && question.asked <= to;
        let questions: Vec<Question> = kept.iter().filter(within).cloned().collect();
        if questions.is_empty() {
            bail!("nobody was asked in the time that was to be watched");
        }
        Ok(Watched { questions, to: Some(to) })
    }

    /// Waits until the host, and no other, has answered for `steady`.
    pub(crate) fn wait_sole(&self, host: Mac, steady: Duration, timeout: Duration) -> Result<()> {
        let what = format!("{host} alone answers for {steady:?}");
        let begin = Instant::now();
        crate::process::wait_until(&what, timeout, || {
            let now = Instant::now();
            let Some(from) = now.checked_sub(steady).filter(|from| *from >= begin) else {
                return Ok(None);
            };
            // The newest questions may be unanswered yet.
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let mut recent =
                kept.iter().filter(|q| q.asked >= from && q.asked + EVERY * 2 <= now).peekable();
            let is_sole = recent.peek().is_some() && recent.all(|q| q.owners == [host]);
            Ok(is_sole.then_some(()))
        })
    }
}

impl Drop for ArpWitness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A scenario that fails drops its witness; the scenario's own error matters more.
            let _ = thread.join();
        }
    }
}

fn ask(
    socket: &FrameSocket,
    vip: Ipv4Addr,
    kept: &Mutex<Vec<Question>>,
    stop: &AtomicBool,
) -> Result<()> {
    // Places of the open questions in `kept`, by the newest tag last.
    let mut open: VecDeque<(Ipv4Addr, usize)> = VecDeque::with_capacity(OPEN);
    let mut next = Instant::now();
    let mut tag = 0_u16;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if next <= now {
            next = now + EVERY;
            let sender = Ipv4Addr::from(u32::from(FIRST_TAG) + u32::from(tag));
            tag = tag.wrapping_add(1);
            if open.len() == OPEN {
                open.pop_front();
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            open.push_back((sender, kept.len()));
            kept.push(Question { asked: now, owners: Vec::new() });
            socket.send(&question(socket.own, sender, vip))?;
        }
        let mut frame = [0; 128];
        let wait = next.saturating_duration_since(Instant::now());
        let Some(length) = socket.receive(&mut frame, wait)? else { continue };
        let Some((tag, owner)) = answer(&frame[..length], socket.own, vip) else { continue };
        if let Some((_, place)) = open.iter().rev().find(|(sender, _)| *sender == tag) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let owners = &mut kept[*place].owners;
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }
    Ok(())
}

/// An ARP request as an Ethernet frame (RFC 826).
fn question(own: Mac, sender: Ipv4Addr, vip: Ipv4Addr) -> Vec<u8> {
    arp(Mac::BROADCAST, REQUEST, (own, sender), (Mac([0; 6]), vip))
}

/// An ARP packet for Ethernet and IPv4 as a frame.
fn arp(to: Mac, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(to.0);
    frame.extend(sender.0.0);
    frame.extend(ETH_P_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]); // Ethernet, IPv4, the lengths of their addresses
    frame.extend(operation.to_be_bytes());
    frame.extend(sender.0.0);
    frame.extend(sender.1.octets());
    frame.extend(target.0.0);
    frame.extend(target.1.octets());
    frame
}

/// Reads an answer to us about the VIP: the tag of the question and who says to own it.
fn answer(frame: &[u8], own: Mac, vip: Ipv4Addr) -> Option<(Ipv4Addr, Mac)> {
    let (header, arp) = frame.split_at_checked(14)?;
    let field = |from: usize, to: usize| arp.get(from..to);
    let is_ours = header[..6] == own.0
        && header[12..] == ETH_P_ARP.to_be_bytes()
        && field(6, 8)? == REPLY.to_be_bytes()
        && field(14, 18)? == vip.octets();
    let owner: [u8; 6] = field(8, 14)?.try_into().ok()?;
    let tag: [u8; 4] = field(24, 28)?.try_into().ok()?;
    is_ours.then(|| (tag.into(), Mac(owner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_its_question_and_its_owner() {
        let (own, owner) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (vip, other) = (Ipv4Addr::new(192, 168, 1, 150), Ipv4Addr::new(192, 168, 1, 151));
        let reply = arp(own, REPLY, (owner, vip), (own, FIRST_TAG));
        assert_eq!(answer(&reply, own, vip), Some((FIRST_TAG, owner)));
        assert_eq!(answer(&reply, owner, vip), None);
        assert_eq!(answer(&reply, own, other), None);
        assert_eq!(answer(&question(own, FIRST_TAG, vip), own, vip), None);
        for length in 0..reply.len() {
            assert_eq!(answer(&reply[..length], own, vip), None, "{length} bytes");
        }
    }
}
