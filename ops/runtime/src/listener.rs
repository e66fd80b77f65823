//! Connections that others open: whose they are, and how many at most.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate;
use crate::identity::{self, Identity, IdentityError};
use crate::tls::ServerTls;

/// Connections that are ready and wait to be served: the server takes them at once.
const READY: usize = 64;
/// Handshakes under way at once: enough for the processors to have work while packets travel, few enough that each of them is done long
/// before it is given up when ten thousand agents come at once.
const HANDSHAKES: usize = 512;
/// Of these from one address, so that nobody keeps others out by opening connections and saying nothing.
const HANDSHAKES_PER_ADDRESS: usize = 128;
/// A handshake is given up after this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// From one address. Loopback is not bounded by it: who is there has the host already.
    pub per_address: usize,
}

/// Who is at the other end of a connection. Handlers find it among a request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// How it is known.
    pub credentials: Credentials,
}

/// How a peer is known.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Not at all: the connection is plain text.
    PlainText,
    /// Not at all: it showed no certificate.
    NoCertificate,
    /// By a certificate that was verified.
    Certificate(Arc<PeerCertificate>),
}

/// What a verified certificate says.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// Its common name, or else its first DNS name.
    pub holder: Option<String>,
    /// Its identity, if it has one.
    pub identity: Result<Option<Identity>, IdentityError>,
    /// When it ends.
    pub ends: SystemTime,
    /// Its issuer's name in DER.
    pub issuer: Vec<u8>,
    /// DNS names and IP addresses that it bears.
    pub addresses: Vec<String>,
}

impl PeerCertificate {
    /// Reads a certificate in DER that was verified.
    pub fn read(der: &[u8]) -> Self {
        let issuer =
            X509Certificate::from_der(der).map(|(_, read)| read.issuer().as_raw().to_vec());
        Self {
            holder: identity::holder(der),
            identity: identity::identity(der),
            ends: certificate::end_of(der).unwrap_or(SystemTime::UNIX_EPOCH),
            issuer: issuer.unwrap_or_default(),
            addresses: identity::addresses(der),
        }
    }
}

/// Takes connections until the stream is dropped: over TLS where it is given, else in plain text. `name` is the listener's, for the log.
pub fn connections(
    name: &'static str,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    limits: Limits,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, receiver) = mpsc::channel(READY);
    let places = Places::new(limits);
    tokio::spawn(take(name, listener, tls, places, ready));
    ReceiverStream::new(receiver)
}

async fn take(
    name: &'static str,
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    places: Arc<Places>,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let opening =
        Places::new(Limits { connections: HANDSHAKES, per_address: HANDSHAKES_PER_ADDRESS });
    // Dropped with this task, so that no handshake outlives its listener.
    let mut under_way = JoinSet::new();
    loop {
        let taken = async {
            let permit = Arc::clone(&handshakes).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = ready.closed() => return,
            Some(_) = under_way.join_next() => continue,
            taken = taken => taken,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = name, %error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let places = opening.take(address.ip()).zip(places.take(address.ip()));
        let Some((opening, place)) = places else {
            tracing::debug!(listener = name, %address, "too many connections: one is refused");
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        under_way.spawn(async move {
            let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, open(stream, address, tls, place));
            match opened.await {
                Ok(Ok(connection)) => {
                    // The server may be gone, and the connection then with it.
                    let _ = ready.send(Ok(connection)).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(listener = name, %address, %error, "no connection came about");
                }
                Err(_) => tracing::debug!(listener = name, %address, "a handshake took too long"),
            }
            drop((permit, opening));
        });
    }
}

async fn open(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    place: Place,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let (stream, credentials) = match tls {
        None => (Stream::Plain(stream), Credentials::PlainText),
        Some(tls) => {
            let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let credentials = shown.map_or(Credentials::NoCertificate, |leaf| {
                Credentials::Certificate(Arc::new(PeerCertificate::read(leaf)))
            });
            (Stream::Tls(Box::new(stream)), credentials)
        }
    };
    Ok(Connection { stream, peer: Peer { address, credentials }, _place: place })
}

/// A connection that was taken.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    _place: Place,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

/// Counts connections.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    per_address: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    fn new(limits: Limits) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(limits.connections));
        let by_address = Mutex::default();
        Arc::new(Self { all, per_address: limits.per_address, by_address })
    }

    /// A place for a connection from that address; none when there are too many.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.per_address && !address.is_loopback() {
            return None;
        }
        *count += 1;
        drop(by_address);
        Some(Place { places: Arc::clone(self), address, _permit: permit })
    }
}

/// One connection's place. Dropping it frees it.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let by_address = self.places.by_address.lock();
        let mut by_address = by_address.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_come_back() {
        let places = Places::new(Limits { connections: 4, per_address: 2 });
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (near, far) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = places.take(near).expect("there is one");
        let second = places.take(near).expect("there is another");
        assert!(places.take(near).is_none(), "too many from there");
        let other = places.take(far).expect("from elsewhere");
        drop(first);
        let third = places.take(near).expect("one came back");
        let _local = places.take(address("127.0.0.1")).expect("the last one");
        assert!(places.take(address("127.0.0.1")).is_none(), "too many in all");
        drop((second, third, other));
        let by_address = places.by_address.lock().expect("nobody panicked");
        assert_eq!(by_address.len(), 1, "{by_address:?}");
    }
}
