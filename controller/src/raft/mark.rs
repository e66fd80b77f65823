//! The high-water mark: a small file apart from the database that tells what the database must still hold.
//!
//! Two slots are written in turn, each with its checksum, so that a write cut short leaves the other. The mark is never
//! ahead of the database: it is raised after the database is synced, and lowered before entries are removed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use fulcrum_proto::internal::v1::HighWaterMark;
use prost::Message as _;

use super::checksum;

/// Bytes from slot to slot: one sector or more on any disk, so that a torn write spoils one slot only.
const SLOT_BYTES: usize = 4096;
/// Length and checksum before the message.
const HEADER_BYTES: usize = 2 + 32;

/// The open file.
pub(crate) struct Mark {
    file: File,
    value: HighWaterMark,
}

impl Mark {
    /// Opens the file and reads the newer of its slots; `None` when there is no file.
    ///
    /// # Errors
    /// Any error of the file system; `InvalidData` when neither slot can be read.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let newest = [0, 1]
            .into_iter()
            .filter_map(|slot| read_slot(&file, slot))
            .max_by_key(|value: &HighWaterMark| value.sequence);
        match newest {
            Some(value) => Ok(Some(Self { file, value })),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Makes the file, on stable storage when this returns.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn create(path: &Path, value: HighWaterMark) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all_at(&vec![0; 2 * SLOT_BYTES], 0)?;
        let mut mark = Self { file, value };
        mark.change(|_| {})?;
        mark.file.sync_all()?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(mark)
    }

    /// What it says.
    pub(crate) fn value(&self) -> &HighWaterMark {
        &self.value
    }

    /// Changes it. Survives the process at once, power loss after [`Self::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut HighWaterMark)) -> io::Result<()> {
        change(&mut self.value);
        self.value.sequence += 1;
        let message = self.value.encode_to_vec();
        let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut slot = Vec::with_capacity(HEADER_BYTES + message.len());
        slot.extend_from_slice(&length.to_be_bytes());
        slot.extend_from_slice(&checksum::bytes(&message));
        slot.extend_from_slice(&message);
        self.file.write_all_at(&slot, (self.value.sequence % 2) * SLOT_BYTES as u64)
    }

    /// Returns when it is on stable storage.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read_slot(file: &File, slot: u64) -> Option<HighWaterMark> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT_BYTES as u64).ok()?;
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let message = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
    if length == 0 || checksum::bytes(message) != bytes[2..HEADER_BYTES] {
        return None;
    }
    HighWaterMark::decode(message).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("mark");
        assert!(Mark::open(&path)?.is_none());
        let mut mark = Mark::create(&path, HighWaterMark::default())?;
        for byte in 1..=9 {
            mark.change(|value| value.last_chain = vec![byte])?;
        }
        let newest = mark.value().sequence;
        drop(mark);
        let reopened = Mark::open(&path)?.expect("the file is there");
        assert_eq!(
            (reopened.value().sequence, &reopened.value().last_chain[..]),
            (newest, &[9][..])
        );

        reopened.file.write_all_at(b"torn", (newest % 2) * SLOT_BYTES as u64 + 36)?;
        let older = Mark::open(&path)?.expect("the file is there");
        assert_eq!((older.value().sequence, &older.value().last_chain[..]), (newest - 1, &[8][..]));

        older.file.write_all_at(b"torn", ((newest - 1) % 2) * SLOT_BYTES as u64)?;
        let error = Mark::open(&path).err().expect("no slot is left");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        Ok(())
    }
}
