//! The state directory: which files lie in it, and that one program uses it at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use fulcrum_session::local_orders;
use nix::fcntl::{Flock, FlockArg};

/// The state directory, held by this process.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Flock<File>,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process uses it.
    #[error("{path} is in use by another director: stop it, or set `state_dir` to another path", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made or written.
    #[error("cannot use the state directory {path}: {source}; let this program's user write there", path = path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StateDir {
    /// Makes the directory when it is missing, and takes it until the process ends.
    ///
    /// # Errors
    /// [`StateDirError`] with the remedy.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                Err(StateDirError::InUse { path: path.to_owned() })
            }
            Err((_, errno)) => Err(io(errno.into())),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The counter of this agent's starts.
    pub fn epoch(&self) -> PathBuf {
        self.path.join("epoch")
    }

    /// The last plan.
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan")
    }

    /// The latch of ARP safety.
    pub fn latch(&self) -> PathBuf {
        self.path.join("arp-latch.json")
    }

    /// The orders that were given at this director itself.
    pub fn local_orders(&self) -> PathBuf {
        self.path.join(local_orders::FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_uses_it_at_a_time() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a/b");
        let held = StateDir::open(&path).expect("a fresh path");
        let error = StateDir::open(&path).expect_err("it is held");
        assert!(error.to_string().contains("in use by another director"), "{error}");
        drop(held);
        StateDir::open(&path).expect("free again");
    }
}
