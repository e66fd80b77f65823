//! What is wrong on a controller's own host: room for its store, its certificates, its clock beside the other controllers'.
//!
//! Facts are read here and by [`fulcrum_session::host`], what is wrong with them is decided by [`judge`], which touches
//! nothing, and [`clocks`] asks the other controllers for the time. All of it goes to the hub, from there to whoever asks for
//! the topology and to the other controllers. What it never does: change anything, or decide by a clock. Start reading at
//! [`follow`].

pub mod clocks;
mod judge;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fulcrum_proto::finding::{HostRole, Look};
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_session::host;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::config::Config;
use crate::sessions::Hub;
use clocks::Readings;

/// Files of the store that are counted: sled's are fewer than a hundred.
const MOST_FILES: usize = 10_000;
/// Directories below the store's own: sled's blobs lie two deep.
const MOST_DEPTH: usize = 4;

/// Looks at this host, and asks the peers for the time, until `shutdown`.
pub fn follow(
    config: &Config,
    peers: Vec<(String, Channel)>,
    hub: Arc<Hub>,
    shutdown: CancellationToken,
) {
    let names = peers.iter().map(|(name, _)| name.clone());
    let (readings, read) = watch::channel(clocks::none_yet(names));
    for (name, channel) in peers {
        tokio::spawn(clocks::follow(name, channel, readings.clone(), shutdown.clone()));
    }
    let (directory, tls) = (config.data_dir.clone(), config.tls.clone());
    // Nothing else is wanted later: the sender lives until the end, and ends the looks with it.
    let (wants, wanted) = watch::channel(());
    let look = host::follow(HostRole::Controller, wanted, move |(), _| {
        judge::judge(&read_facts(&directory, tls.as_ref()), SystemTime::now())
    });
    tokio::spawn(async move {
        tell(look, read, &hub, &shutdown).await;
        drop(wants);
    });
}

/// Tells the hub what is found, whenever it changes.
async fn tell(
    mut look: watch::Receiver<Look>,
    mut readings: watch::Receiver<Readings>,
    hub: &Hub,
    shutdown: &CancellationToken,
) {
    loop {
        let clocks = clocks::judge(&readings.borrow_and_update());
        hub.set_my_look(Look::merge([look.borrow_and_update().clone(), clocks]));
        tokio::select! {
            () = shutdown.cancelled() => return,
            Ok(()) = look.changed() => {}
            Ok(()) = readings.changed() => {}
            // Both senders are gone: the runtime is shutting down.
            else => return,
        }
    }
}

fn read_facts(directory: &Path, tls: Option<&TlsFiles>) -> judge::Facts {
    let mut files = MOST_FILES;
    judge::Facts {
        disk: host::disk(directory),
        store_bytes: bytes_of(directory, MOST_DEPTH, &mut files),
        certificates: host::certificates(tls),
    }
}

/// What the files of a directory hold; those that come or go meanwhile count as it happens.
fn bytes_of(directory: &Path, depth: usize, files: &mut usize) -> u64 {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Some(left) = files.checked_sub(1) else { break };
        *files = left;
        // Of a link the link itself.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes = bytes.saturating_add(match (metadata.is_dir(), depth.checked_sub(1)) {
            (true, Some(depth)) => bytes_of(&entry.path(), depth, files),
            (true, None) => 0,
            (false, _) => metadata.len(),
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_measured_within_bounds() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        fs::create_dir_all(path.join("db/blobs"))?;
        fs::write(path.join("mark"), [0; 10])?;
        fs::write(path.join("db/blobs/1"), [0; 100])?;
        std::os::unix::fs::symlink(path, path.join("db/loop"))?;
        let of = |depth, mut files: usize| bytes_of(path, depth, &mut files);
        let link = path.as_os_str().len() as u64;
        assert_eq!(of(MOST_DEPTH, MOST_FILES), 110 + link);
        assert_eq!(of(0, MOST_FILES), 10, "no directory below");
        assert_eq!(of(MOST_DEPTH, 0), 0);
        assert_eq!(bytes_of(&path.join("gone"), 1, &mut 1), 0);
        Ok(())
    }
}
