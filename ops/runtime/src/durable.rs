//! Small files that survive kill -9 and power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that go to a file at once.
const PIECE: usize = 64 << 10;

/// Replaces a file as a whole: a reader, and whoever looks after power loss, sees the old bytes or the new ones. On
/// return the new bytes are on stable storage. Missing parent directories are made. Only the owner may read the file,
/// for plans hold secrets. A path has one writer at a time.
///
/// # Errors
/// Any error of the file system, with the path and what to do where that is known. The old file then still stands.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// The same for a file that is written piece by piece, so that it need not stand in memory as a whole.
///
/// # Errors
/// As [`write_atomic`], and what `write` answers.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    replace(path, write).map_err(|error| explain("write", path, error))
}

/// Adds one to a counter that survives power loss, and gives the new value. A missing file counts as the seconds since
/// 1970 now: a program that lost its state then still counts above what it once told others, unless its clock went back.
///
/// # Errors
/// Any error of the file system; `InvalidData` when the file holds no number.
pub fn next_counter(path: &Path) -> io::Result<u64> {
    let next = read_counter(path)?.saturating_add(1);
    write_atomic(path, format!("{next}\n").as_bytes())?;
    Ok(next)
}

/// Raises such a counter to `at_least` if it is lower, and gives the value that stands.
///
/// # Errors
/// As [`next_counter`].
pub fn raise_counter(path: &Path, at_least: u64) -> io::Result<u64> {
    let found = read_counter(path)?;
    if found >= at_least {
        return Ok(found);
    }
    write_atomic(path, format!("{at_least}\n").as_bytes())?;
    Ok(at_least)
}

fn read_counter(path: &Path) -> io::Result<u64> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(seconds_since_1970()),
        Err(error) => return Err(explain("read", path, error)),
    };
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(20).collect();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} holds {shown:?} where a number is due: remove the file, and the counter begins again \
                 (the controllers then tell the highest epoch they have seen)",
                path.display()
            ),
        )
    })
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let directory = parent(path);
    if !directory.exists() {
        fs::create_dir_all(&directory)?;
        sync_directory(&parent(&directory))?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // A fixed name, so that what a crash leaves behind is overwritten and not gathered.
    let mut temporary_name = name.to_owned();
    temporary_name.push(".tmp");
    let temporary = directory.join(temporary_name);
    let written = write_synced(&temporary, write).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // On a full disk the space is worth more than the half-written file.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(&directory)
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = BufWriter::with_capacity(PIECE, file);
    write(&mut file)?;
    file.into_inner().map_err(IntoInnerError::into_error)?.sync_all()
}

/// A rename is on stable storage only when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn explain(verb: &str, path: &Path, error: io::Error) -> io::Error {
    let kind = error.kind();
    let remedy = match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": make room on its file system"
        }
        io::ErrorKind::PermissionDenied => ": let this program's user write in its directory",
        io::ErrorKind::ReadOnlyFilesystem => ": its file system is mounted read-only",
        // Of the many other kinds of std's own enum none has a remedy of ours.
        _ => "",
    };
    io::Error::new(kind, format!("cannot {verb} {}: {error}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("new/state");
        for bytes in [&b"first"[..], b"second", b""] {
            write_atomic(&path, bytes)?;
            assert_eq!(fs::read(&path)?, bytes);
        }
        assert_eq!(fs::read_dir(directory.path().join("new"))?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_names_the_path() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("state");
        write_atomic(&path, b"old")?;
        // A directory in the temporary file's place makes its creation fail, even for root.
        fs::create_dir(directory.path().join("state.tmp"))?;
        let error = write_atomic(&path, b"new").expect_err("the temporary file cannot be made");
        assert!(error.to_string().contains("state"), "{error}");
        assert_eq!(fs::read(&path)?, b"old");
        Ok(())
    }

    #[test]
    fn a_counter_only_grows() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("epoch");
        let before = seconds_since_1970();
        let first = next_counter(&path)?;
        assert!(first > before, "a lost counter begins above what the last one reached");
        assert_eq!(next_counter(&path)?, first + 1);
        fs::write(&path, "2\n")?;
        assert_eq!(raise_counter(&path, 7)?, 7);
        assert_eq!(raise_counter(&path, 3)?, 7);
        assert_eq!(next_counter(&path)?, 8);
        fs::write(&path, "eight")?;
        let error = next_counter(&path).expect_err("no number");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("remove the file"), "{error}");
        Ok(())
    }
}
