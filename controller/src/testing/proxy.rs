//! Ways between processes on loopback that can be cut, in one direction or both.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What a way lets through. What it does not is swallowed, as a network does; nobody is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// What the one who connects says.
    pub(crate) there: bool,
    /// What is answered.
    pub(crate) back: bool,
}

impl Open {
    pub(crate) const WHOLE: Self = Self { there: true, back: true };
    pub(crate) const CUT: Self = Self { there: false, back: false };
    pub(crate) const DEAF: Self = Self { there: true, back: false };
    pub(crate) const MUTE: Self = Self { there: false, back: true };
}

/// A way to one endpoint.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it begins.
    pub(crate) endpoint: String,
    open: watch::Sender<Open>,
    server: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// A way to an endpoint, whole at first.
    pub(crate) async fn to(endpoint: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let begin = listener.local_addr().expect("it has an address").to_string();
        let open = watch::Sender::new(Open::WHOLE);
        let state = open.subscribe();
        let server = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(connect(from, endpoint.clone(), state.clone()));
            }
        });
        Self { endpoint: begin, open, server: server.abort_handle() }
    }

    /// Lets this through from now on. Connections of before are gone when it becomes whole again, for bytes of theirs are missing.
    pub(crate) fn set(&self, open: Open) {
        self.open.send_replace(open);
    }
}

async fn connect(from: TcpStream, endpoint: String, open: watch::Receiver<Open>) {
    let Ok(to) = TcpStream::connect(&endpoint).await else { return };
    // Small messages wait for nobody.
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let (from_read, from_write) = from.into_split();
    let (to_read, to_write) = to.into_split();
    let lost = Arc::new(watch::Sender::new(false));
    let there = pass(from_read, to_write, open.clone(), Arc::clone(&lost), |open| open.there);
    let back = pass(to_read, from_write, open.clone(), Arc::clone(&lost), |open| open.back);
    tokio::select! {
        () = there => {}
        () = back => {}
        () = healed(open, lost.subscribe()) => {}
    }
}

/// Ends once the way is whole again after something was swallowed.
async fn healed(mut open: watch::Receiver<Open>, mut lost: watch::Receiver<bool>) {
    if lost.wait_for(|is_lost| *is_lost).await.is_ok() {
        // The sender's end is that of the test.
        let _ = open.wait_for(|open| *open == Open::WHOLE).await;
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    open: watch::Receiver<Open>,
    lost: Arc<watch::Sender<bool>>,
    is_open: fn(&Open) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) if is_open(&open.borrow()) && !*lost.borrow() => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            Ok(_) => {
                lost.send_replace(true);
            }
        }
    }
}
