//! The Unix socket itself: whose it is, and what becomes of one that a killed director left behind.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another program answers there.
    #[error("{path} answers already: another director runs here; stop it, or set `socket` to another path", path = path.display())]
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

/// Owner and group may enter the directory and use the socket; nobody else.
const DIRECTORY_MODE: u32 = 0o750;
const SOCKET_MODE: u32 = 0o660;

/// Listens on `path`, in a directory that is made when it is missing. A file that a killed director left is replaced.
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
    async fn a_killed_directors_socket_is_replaced_and_nothing_else() {
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
