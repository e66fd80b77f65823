//! Files of a process, as it sees them: through `/proc/PID/root`, so that one in a container is read in its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// Most entries of a directory that are looked at: `/tmp` may hold anything.
const MAX_ENTRIES: usize = 10_000;

/// The root directory of a process.
#[derive(Debug)]
pub struct ProcessRoot {
    directory: OwnedFd,
}

impl ProcessRoot {
    /// Opens it.
    ///
    /// # Errors
    /// The process has ended, or is another user's and we lack `CAP_SYS_PTRACE`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/root");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { directory: open(path.as_str(), flags, Mode::empty())? })
    }

    /// Opens a regular file. Links lead nowhere outside of the root, as for the process itself.
    ///
    /// # Errors
    /// Those of `openat2(2)`; `InvalidInput` for what is no regular file.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        // Without O_NONBLOCK a FIFO in its place would hold us up for ever.
        let file = File::from(self.open_as(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Reads a file of at most `max` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` for a larger one, and those of [`ProcessRoot::open`].
    pub fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        read_bounded(self.open(path)?, max)
    }

    /// The paths in `directory` whose names begin with `prefix`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self, directory: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
        let opened = self.open_as(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
        let names = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.file_name());
        let is_asked = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(prefix);
        Ok(names.filter(is_asked).map(|name| directory.join(name)).collect())
    }

    /// Whether there is such a directory.
    pub fn has_directory(&self, path: &Path) -> bool {
        self.open_as(path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok()
    }

    fn open_as(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(&self.directory, path, how)?)
    }
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// `FileTooLarge` for a larger one.
pub fn read_bounded(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    let is_within = u64::try_from(bytes.len()).is_ok_and(|length| length <= max);
    if is_within { Ok(bytes) } else { Err(io::ErrorKind::FileTooLarge.into()) }
}

/// The user whose file this is.
///
/// # Errors
/// Those of `fstat(2)`.
pub fn owner(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_regular() {
        let root = ProcessRoot::of(std::process::id()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ab.txt");
        std::fs::write(&file, "four").unwrap();
        assert_eq!(root.read(&file, 4).unwrap(), b"four");
        assert_eq!(root.read(&file, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(root.open(directory.path()).is_err(), "a directory");
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(root.open(&fifo).is_err(), "a FIFO, at once");
        assert_eq!(root.list(directory.path(), "ab").unwrap(), [file]);
        assert!(root.has_directory(directory.path()) && !root.has_directory(&fifo));
        assert!(root.open(Path::new("/proc/self/exe")).is_err(), "a magic link");
    }
}
