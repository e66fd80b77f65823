//! Threads inside a node's network namespace.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps the namespace of that name.
pub(crate) fn path(node: &str) -> PathBuf {
    Path::new("/run/netns").join(node)
}

/// Moves the calling thread into the node's network namespace, for good.
pub(crate) fn enter(node: &str) -> Result<()> {
    let path = path(node);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter namespace {node}"))
}

/// Runs `work` on a thread of its own inside the node's network namespace, to its end.
pub(crate) fn inside<T: Send>(node: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(node)?;
                work()
            })
            .join()
            .map_err(|_| anyhow!("the work in namespace {node} panicked"))?
    })
}
