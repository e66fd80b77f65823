//! `lvsctl backup`

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::backup_response::Part;
use sha2::{Digest as _, Sha256};
use tonic::Streaming;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{Node, to_json, to_yaml};

/// A controller that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Where to, and of what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file to write. One that is there is replaced, once the new one is whole. Only you may read it: it holds secrets.
    file: PathBuf,
    /// Back up what the controller asked has, without asking the leader: it may be old. For when no majority is left.
    #[arg(long)]
    stale: bool,
}

/// What was written.
#[derive(Debug, Default)]
struct Written {
    start: v1::BackupStart,
    summary: v1::BackupSummary,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let Arguments { file, stale } = arguments;
    let stream = controllers
        .ask(|channel| async move {
            connect::cluster(channel).backup(v1::BackupRequest { stale }).await
        })
        .await
        .map_err(|refusal| refusal.failure("cannot back up"))?;
    let temporary = temporary_of(&file)?;
    let written = receive(stream, &temporary).await.and_then(|written| {
        publish(&temporary, &file).map_err(|error| unwritten(&file, &error))?;
        Ok(written)
    });
    let written = written.inspect_err(|_| {
        // What is not whole is worth nothing; that it cannot be removed is worth less than why it failed.
        let _ = fs::remove_file(&temporary);
    })?;
    out::print(&told(global.output.unwrap_or(Output::Table), &file, &written))?;
    Ok(Exit::Ok)
}

fn temporary_of(file: &Path) -> Result<PathBuf, Failure> {
    let name = file.file_name().ok_or_else(|| {
        Failure::usage(format!("{} names no file: give one to write to", file.display()))
    })?;
    let mut name = name.to_owned();
    name.push(".tmp");
    Ok(file.with_file_name(name))
}

async fn receive(
    mut stream: Streaming<v1::BackupResponse>,
    temporary: &Path,
) -> Result<Written, Failure> {
    let mut file = create(temporary).map_err(|error| unwritten(temporary, &error))?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut written = Written::default();
    loop {
        let message = match tokio::time::timeout(SILENCE, stream.message()).await {
            Ok(Ok(message)) => message,
            Ok(Err(status)) => {
                return Err(Refusal::Answered(Box::new(status)).failure("the backup broke off"));
            }
            Err(_) => {
                let text =
                    format!("the backup broke off: nothing came for {} s", SILENCE.as_secs());
                return Err(Failure::new(Exit::TimedOut, text));
            }
        };
        match message.and_then(|message| message.part) {
            Some(Part::Start(start)) => written.start = start,
            Some(Part::Chunk(chunk)) => {
                hash.update(&chunk);
                size_bytes += chunk.len() as u64;
                file.write_all(&chunk).map_err(|error| unwritten(temporary, &error))?;
            }
            Some(Part::End(summary)) => {
                let is_whole =
                    summary.size_bytes == size_bytes && hash.finalize()[..] == summary.sha256[..];
                if !is_whole {
                    let text = "the backup did not arrive as it was sent: try again";
                    return Err(Failure::new(Exit::Unhealthy, text));
                }
                file.sync_all().map_err(|error| unwritten(temporary, &error))?;
                written.summary = summary;
                return Ok(written);
            }
            None => {
                let text = "the backup broke off before its end: try again, or another controller";
                return Err(Failure::new(Exit::Unhealthy, text));
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// In place, on stable storage when this returns.
fn publish(temporary: &Path, file: &Path) -> io::Result<()> {
    fs::rename(temporary, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unhealthy, format!("cannot write {}: {error}", path.display()))
}

fn told(format: Output, file: &Path, written: &Written) -> String {
    let Written { start, summary } = written;
    let sha256 = summary.sha256.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    });
    let number = |number: u64| Node::Plain(number.to_string());
    let node = || {
        let fields = [
            ("file", Node::text(&file.display().to_string())),
            ("cluster_id", Node::text(&start.cluster_id)),
            ("incarnation", number(start.incarnation)),
            ("revision", number(start.revision)),
            ("controller", Node::text(&start.controller)),
            ("size_bytes", number(summary.size_bytes)),
            ("sha256", Node::text(&sha256)),
            ("resources", number(summary.resources)),
            ("revisions", number(summary.revisions)),
        ];
        Node::Map(fields.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
    };
    match format {
        Output::Json => to_json(&node()),
        Output::Yaml => to_yaml(&node()),
        Output::Table => format!(
            "{}: revision {} with {} resources and {} kept revisions, {} bytes, from {}\nsha256 {sha256}\n",
            file.display(),
            start.revision,
            summary.resources,
            summary.revisions,
            summary.size_bytes,
            start.controller
        ),
    }
}
