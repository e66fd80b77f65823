//! `fulcrum-controller restore`: a store from a backup, while no controller runs on it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use fulcrum_controller::config::Config;
use fulcrum_controller::raft::{self, BackupInfo, Restored};

/// What is restored, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup, as `lvsctl backup` wrote it.
    file: PathBuf,
    /// The configuration file of the controller that is to begin the new cluster: tells its id and its directory.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["data_dir", "check"], conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// Its directory, instead of a configuration file.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// With --data-dir: the controller's id in [[controllers]].
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// Only tell whether the backup is whole, and what it is of.
    #[arg(long)]
    check: bool,
}

/// Restores, or checks, and prints what was done and what comes next.
///
/// # Errors
/// Each says what to do. Nothing was changed then.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { file, config, data_dir, id, check } = arguments;
    if *check {
        println!("{}: whole; {}", file.display(), of(&raft::check_backup(file)?));
        return Ok(());
    }
    let (data_dir, id, name) = match (config, data_dir) {
        (Some(path), _) => {
            let config = Config::load(path)?;
            let me = config.me();
            (config.data_dir.clone(), me.id, me.name.clone())
        }
        (None, Some(data_dir)) => (data_dir.clone(), *id, format!("controller {id}")),
        (None, None) => anyhow::bail!("give --config FILE, or --data-dir DIR and --id ID"),
    };
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make {}", data_dir.display()))?;
    let restored = raft::restore(file, &data_dir, id, SystemTime::now())?;
    let Restored { backup, incarnation, directory } = restored;
    println!("restored {}", of(&backup));
    println!("into {}; incarnation {incarnation} begins", directory.display());
    println!(
        "Next: start {name}, alone. When `lvsctl controller list` shows it as leader, start the other controllers of [[controllers]] with \
         empty data_dirs: they join it by themselves."
    );
    Ok(())
}

fn of(backup: &BackupInfo) -> String {
    let BackupInfo {
        cluster_id,
        incarnation,
        revision,
        controller,
        taken_ms,
        resources,
        revisions,
    } = backup;
    let taken: prost_types::Timestamp =
        (SystemTime::UNIX_EPOCH + Duration::from_millis(*taken_ms)).into();
    format!(
        "revision {revision} of cluster {cluster_id}, incarnation {incarnation}: {resources} resources and {revisions} kept revisions, taken \
         from {controller} at {taken}"
    )
}
