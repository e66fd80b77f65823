//! Questions one after the other, from an address and over a transport of choice: which real server answers each?

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, anyhow, bail};
use socket2::{SockAddr, Socket};

use super::{TIMEOUT, page};
use crate::net::endpoint::{Endpoint, Transport};
use crate::net::namespace;

/// Asks so many times from the node, each time from a port of its own, and answers with the names of those that answered.
pub(crate) fn in_turn(
    node: &str,
    source: IpAddr,
    target: Endpoint,
    times: usize,
) -> Result<Vec<String>> {
    asking(node, source, target, || {
        (0..times).map(|_| ask(&open(source, target)?, target)).collect()
    })
}

/// The same by UDP, from one port for all.
pub(crate) fn from_one_port(
    node: &str,
    source: IpAddr,
    target: Endpoint,
    times: usize,
) -> Result<Vec<String>> {
    asking(node, source, target, || {
        let socket = open(source, target)?;
        (0..times).map(|_| ask(&socket, target)).collect()
    })
}

fn asking(
    node: &str,
    source: IpAddr,
    target: Endpoint,
    work: impl FnOnce() -> Result<Vec<String>> + Send,
) -> Result<Vec<String>> {
    namespace::inside(node, work).with_context(|| format!("asking {target} from {source}"))
}

fn open(source: IpAddr, target: Endpoint) -> Result<Socket> {
    let socket = target.transport.socket(target.address)?;
    socket.bind(&SockAddr::from(SocketAddr::new(source, 0))).context("cannot bind")?;
    socket.connect_timeout(&SockAddr::from(target.address), TIMEOUT).context("cannot connect")?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// One question and its answer.
fn ask(mut socket: &Socket, target: Endpoint) -> Result<String> {
    if target.transport == Transport::Udp {
        let mut name = [0; 64];
        socket.write_all(b"?")?;
        let length = socket.read(&mut name).context("no answer")?;
        return Ok(String::from_utf8_lossy(&name[..length]).into_owned());
    }
    let host = target.address.ip().to_string();
    socket.write_all(page::request(&host, "/").as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let length = socket.read(&mut chunk).context("no answer")?;
        answer.extend_from_slice(&chunk[..length]);
        match page::judge(&answer, length == 0) {
            Some(Ok(name)) => return Ok(name),
            Some(Err(failure)) => return Err(anyhow!("{failure}")),
            None if answer.len() > 1 << 16 => bail!("an answer without end"),
            None => {}
        }
    }
}
