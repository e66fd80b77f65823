//! The client: a thread in a namespace of its own that asks the VIPs.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::director::{V4, V6};
use crate::kernel::{Result, shell};
use crate::require;

/// Longest wait for an answer that is not to come.
const ANSWER: Duration = Duration::from_millis(1500);
/// Longest that the link takes.
const PATIENCE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() -> std::result::Result<String, String> + Send>;

pub(crate) struct Client {
    work: Sender<Work>,
    answers: Receiver<std::result::Result<String, String>>,
}

impl Client {
    /// In a namespace that a cable joins with the caller's.
    pub(crate) fn start() -> Result<Self> {
        let (work, inbox) = channel::<Work>();
        let (outbox, answers) = channel();
        let (ready, tid) = channel();
        std::thread::spawn(move || {
            let entered = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            let _ = ready.send(entered.map(|()| nix::unistd::gettid()));
            while let Ok(work) = inbox.recv() {
                if outbox.send(work()).is_err() {
                    return;
                }
            }
        });
        let tid = tid.recv()??;
        shell(&format!("ip link add eth0 type veth peer name eth0 netns {tid}"))?;
        let client = Self { work, answers };
        for words in ["link set lo up", "address add 10.0.0.9/24 dev eth0", "link set eth0 up"] {
            client.shell(&format!("ip {words}"))?;
        }
        client.shell("ip address add 2001:db8::9/64 dev eth0 nodad")?;
        Ok(client)
    }

    /// Waits until both ends have their link-local addresses.
    pub(crate) fn settle(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let words = "ip -6 address show dev eth0 scope link -tentative";
        while shell(words)?.is_empty() || self.shell(words)?.is_empty() {
            if Instant::now() > until {
                return Err("no link-local address".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether each VIP answers an attempt to connect to a port that nobody serves.
    pub(crate) fn require(&self, what: &str, answers: bool) -> Result<()> {
        for vip in [V4, V6] {
            let address: IpAddr = vip.parse()?;
            let said = self.run(Box::new(move || ask(address)))?;
            require(&format!("{what}: {vip} {said}"), (said == "answers") == answers)?;
        }
        Ok(())
    }

    /// A VIP's hardware address is learnt anew.
    pub(crate) fn require_neighbour(&self, vip: &str) -> Result<()> {
        self.shell("ip neighbour flush dev eth0")?;
        let address: IpAddr = vip.parse()?;
        self.run(Box::new(move || ask(address)))?;
        let neighbour = self.shell(&format!("ip -6 neighbour show to {vip}"))?;
        if neighbour.contains("lladdr") { Ok(()) } else { Err(neighbour.into()) }
    }

    fn shell(&self, words: &str) -> Result<String> {
        let words = words.to_owned();
        self.run(Box::new(move || shell(&words).map_err(|error| error.to_string())))
    }

    fn run(&self, work: Work) -> Result<String> {
        self.work.send(work)?;
        Ok(self.answers.recv()??)
    }
}

fn ask(address: IpAddr) -> std::result::Result<String, String> {
    match TcpStream::connect_timeout(&SocketAddr::new(address, 81), ANSWER) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok("answers".to_owned()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok("is silent".to_owned()),
        Ok(_) => Err("somebody serves the port".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
