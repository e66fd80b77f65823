//! Room on the store's file system: noticed before it is gone, and a reserve for the start after it went.
//!
//! Without room sled can neither write nor be opened again. So a node that has little room takes no writes and hands the
//! leadership over once, long before anything fails; and a reserve lets it start on a full disk, to serve what it has.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

/// Below this no writes are taken: ten times what a snapshot and the log between two snapshots usually take.
pub(crate) const LOW_BYTES: u64 = 64 << 20;
/// Writes are taken again from this on, so that a file that comes and goes does not make it flicker.
const ENOUGH_BYTES: u64 = 96 << 20;
/// Time between two looks: at full speed the log grows by less than `LOW_BYTES` in it.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The reserve: what sled needs to open, with some segments to spare.
const RESERVE_BYTES: i64 = 16 << 20;
const RESERVE_NAME: &str = "reserve";

/// Room on a store's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that this process may still write there.
    pub(crate) free_bytes: u64,
    /// Bytes that the store takes, but for its reserve.
    pub(crate) used_bytes: u64,
}

impl Room {
    /// Looks at the store in a directory.
    ///
    /// # Errors
    /// Any error of the file system when it tells of no free room. What vanishes while it is looked at counts as nothing.
    pub(crate) fn look(directory: &Path) -> io::Result<Self> {
        Ok(Self { free_bytes: free_bytes(directory)?, used_bytes: used_bytes(directory) })
    }
}

/// Bytes of the files below a directory, but for the reserve. A store's directories are two levels deep.
fn used_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes =
        entries.flatten().filter(|entry| entry.file_name() != RESERVE_NAME).map(
            |entry| match entry.metadata() {
                Ok(found) if found.is_dir() => used_bytes(&entry.path()),
                Ok(found) => found.len(),
                Err(_) => 0,
            },
        );
    sizes.sum()
}

/// Whether too little room is left, when it was or was not before.
pub(crate) fn is_low(was_low: bool, free_bytes: u64) -> bool {
    free_bytes < if was_low { ENOUGH_BYTES } else { LOW_BYTES }
}

/// Bytes that this process may still write on the file system of a directory.
///
/// # Errors
/// Any error of the file system.
pub(crate) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = statvfs(directory)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Gives the reserve up when the store could not be opened without it.
///
/// # Errors
/// Any error of the file system.
pub(crate) fn release_reserve(directory: &Path) -> io::Result<()> {
    let reserve = directory.join(RESERVE_NAME);
    if free_bytes(directory)? < RESERVE_BYTES.unsigned_abs() && reserve.exists() {
        tracing::warn!(directory = %directory.display(), "the disk is full: starting on the reserve");
        std::fs::remove_file(reserve)?;
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Makes the reserve where there is ample room and none yet.
pub(crate) fn make_reserve(directory: &Path) {
    let reserve = directory.join(RESERVE_NAME);
    let is_ample = free_bytes(directory).is_ok_and(|free| free > ENOUGH_BYTES);
    if reserve.exists() || !is_ample {
        return;
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&reserve).and_then(|file| {
        posix_fallocate(&file, 0, RESERVE_BYTES)?;
        file.sync_all()
    });
    if let Err(error) = made {
        // The store works without it.
        tracing::warn!(%error, reserve = %reserve.display(), "the reserve cannot be made");
        let _ = std::fs::remove_file(reserve);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_low_until_there_is_enough_again() {
        let cases = [
            (false, LOW_BYTES, false),
            (false, LOW_BYTES - 1, true),
            (true, LOW_BYTES, true),
            (true, ENOUGH_BYTES - 1, true),
            (true, ENOUGH_BYTES, false),
        ];
        for (was_low, free, expected) in cases {
            assert_eq!(is_low(was_low, free), expected, "{was_low} {free}");
        }
    }

    #[test]
    fn the_reserve_is_made_once_and_kept_while_there_is_room() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        make_reserve(directory.path());
        make_reserve(directory.path());
        release_reserve(directory.path())?;
        let reserve = directory.path().join(RESERVE_NAME).metadata()?;
        assert_eq!(reserve.len(), RESERVE_BYTES.unsigned_abs());
        std::fs::create_dir(directory.path().join("db"))?;
        std::fs::write(directory.path().join("db/db"), [0; 5000])?;
        std::fs::write(directory.path().join("mark"), [0; 100])?;
        let room = Room::look(directory.path())?;
        assert_eq!((room.used_bytes, room.free_bytes > 0), (5100, true));
        assert!(free_bytes(directory.path())? > 0);
        Ok(())
    }
}
