//! An agent's own door: a Unix socket that answers when no controller does.
//!
//! Whose it is, what becomes of one that a killed agent left behind, who may give orders by it, and how it closes. What is
//! asked by it is the agent's matter. Start reading at [`bind`], then [`serve`].

use std::fmt::Display;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::trace::server_layer;

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another program answers there.
    #[error("{path} answers already: another agent runs here; stop it, or set `socket` to another path", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in its place.
    #[error("{path} is no socket: move it away, or set `socket` to another path", path = path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The file system or the kernel refuses.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    /// Accepts connections.
    pub listener: UnixListener,
    /// Its file.
    pub file: SocketFile,
}

/// The socket's file, removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A leftover is replaced at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Longest path of a Unix socket in bytes: `sun_path` of unix(7) less the closing NUL.
pub const MAX_PATH_BYTES: usize = 107;

/// Whoever asked and does not read, such as a pager, is not waited for longer when the agent ends.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// The open door.
#[derive(Debug)]
pub struct Door {
    task: JoinHandle<()>,
}

impl Door {
    /// Waits until the last answer is given and the socket's file is gone, after the shutdown it was opened with.
    pub async fn closed(self) {
        // A panic of the task was reported by the runtime; nothing is left to do about it.
        let _ = self.task.await;
    }
}

/// Answers on the socket until `shutdown`.
pub fn serve(socket: Socket, routes: Routes, shutdown: CancellationToken) -> Door {
    let Socket { listener, file } = socket;
    let serving = tonic::transport::Server::builder()
        .layer(server_layer())
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            shutdown.clone().cancelled_owned(),
        );
    let farewell_over = async move {
        shutdown.cancelled().await;
        tokio::time::sleep(LONGEST_FAREWELL).await;
    };
    let task = tokio::spawn(async move {
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "the local socket answers no longer");
                }
            }
            () = farewell_over => {}
        }
        drop(file);
    });
    Door { task }
}

/// Who may give orders: root, and this program's own user. Others of the group may ask.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    own: u32,
}

impl Writers {
    /// Finds out whose program this is.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn of_this_program() -> io::Result<Self> {
        // The kernel tells of both ends of a pair who made it (SO_PEERCRED of unix(7)).
        let (one, _other) = UnixStream::pair()?;
        one.set_nonblocking(true)?;
        Ok(Self { own: tokio::net::UnixStream::from_std(one)?.peer_cred()?.uid() })
    }

    /// Whether whoever asks may give orders.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with the remedy.
    pub fn check<T>(self, request: &Request<T>) -> Result<(), Status> {
        let connection = request.extensions().get::<UdsConnectInfo>();
        let peer = connection.and_then(|connection| connection.peer_cred).map(|peer| peer.uid());
        self.check_uid(peer).map_err(Status::permission_denied)
    }

    fn check_uid(self, peer: Option<u32>) -> Result<(), String> {
        let remedy = "run lvsctl as root (sudo), or as the agent's own user";
        match peer {
            Some(uid) if uid == 0 || uid == self.own => Ok(()),
            Some(uid) => Err(format!("user {uid} may ask, and give no orders: {remedy}")),
            None => Err(format!("the kernel does not tell who asks: {remedy}")),
        }
    }
}

/// The way from the door to the agent's own task, which answers requests of kind `R` one by one.
#[derive(Debug)]
pub struct Asking<R> {
    requests: mpsc::Sender<R>,
    writers: Writers,
}

/// Where the agent's answer goes; whoever asked may be gone.
pub type Reply<T> = oneshot::Sender<T>;

/// Requests that wait for the agent. A person makes one; the number lets a few tools ask at once.
const REQUESTS_CAPACITY: usize = 16;

impl<R> Asking<R> {
    /// The way, and its end at the agent.
    pub fn new(writers: Writers) -> (Self, mpsc::Receiver<R>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_CAPACITY);
        (Self { requests, writers }, receiver)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the agent is stopping.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> R) -> Result<T, Status> {
        let stopping = || Status::unavailable("the agent is stopping");
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Passes on an order of somebody who may give it, once it is read.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `INVALID_ARGUMENT` with what is wrong with each field, and what the agent answers.
    pub async fn order<M, W, E: Display, T>(
        &self,
        request: Request<M>,
        read: impl FnOnce(&M) -> Result<W, E>,
        order: impl FnOnce(W, Reply<Result<T, Status>>) -> R,
    ) -> Result<Response<T>, Status> {
        self.writers.check(&request)?;
        let wish =
            read(request.get_ref()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.ask(|reply| order(wish, reply)).await?.map(Response::new)
    }
}

/// Owner and group may enter the directory and use the socket; nobody else.
const DIRECTORY_MODE: u32 = 0o750;
const SOCKET_MODE: u32 = 0o660;

/// Listens on `path`, in a directory that is made when it is missing. A file that a killed agent left is replaced.
///
/// # Errors
/// [`SocketError`], with the path and the remedy where there is one.
pub fn bind(path: &Path) -> Result<Socket, SocketError> {
    let io = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| SocketError::Io { doing, path, source }
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(io("make the directory", directory))?;
    }
    remove_stale(path)?;
    // Until the next line its mode is at most 755, and whoever may not write cannot connect (unix(7)).
    let listener = UnixListener::bind(path).map_err(io("listen on", path))?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(io("set the permissions of", path))?;
    Ok(Socket { listener, file })
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::Occupied { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| SocketError::Io {
                doing: "remove the stale",
                path: path.to_owned(),
                source,
            }),
        Err(source) => {
            Err(SocketError::Io { doing: "see who answers on", path: path.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_one_owner_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("run/director.sock");
        let socket = bind(&path).expect("a fresh path");
        assert_eq!((mode(&path), mode(&directory.path().join("run"))), (0o660, 0o750));
        assert!(matches!(bind(&path), Err(SocketError::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn root_and_the_own_user_give_orders() {
        let own = Writers::of_this_program().expect("the kernel tells").own;
        let metadata = tempfile::tempfile().expect("a file").metadata().expect("of it");
        assert_eq!(own, std::os::unix::fs::MetadataExt::uid(&metadata));
        let writers = Writers { own: 7 };
        for (peer, may) in [(Some(0), true), (Some(7), true), (Some(8), false), (None, false)] {
            assert_eq!(writers.check_uid(peer).is_ok(), may, "{peer:?}");
        }
        let refused = writers.check(&Request::new(())).expect_err("by no socket");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    }

    #[tokio::test]
    async fn a_killed_agents_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("director.sock");
        let Socket { listener, file } = bind(&path).expect("a fresh path");
        drop(listener);
        std::mem::forget(file);
        assert!(path.exists());
        bind(&path).expect("a stale one is replaced");

        let plain = directory.path().join("file");
        fs::write(&plain, "kept").expect("written");
        assert!(matches!(bind(&plain), Err(SocketError::Occupied { .. })));
        assert_eq!(fs::read_to_string(&plain).expect("still there"), "kept");
    }
}
