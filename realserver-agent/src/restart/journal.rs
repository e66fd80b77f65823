//! Which order of each server was begun and how it ended, on disk before the command runs and after it has ended.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_runtime::durable;
use serde::{Deserialize, Serialize};

use super::decide::{Record, Stage};

/// Most servers that are remembered: far more than a host serves. The first by name go where there are more.
const MOST_RECORDS: usize = 1_024;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    records: BTreeMap<Name, Record>,
    /// It cannot be read, and so nothing is run.
    unread: Option<Record>,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Stored {
    restarts: Vec<StoredRestart>,
}

#[derive(Serialize, Deserialize)]
struct StoredRestart {
    real_server: String,
    id: String,
    /// Absent while the command runs.
    ended: Option<StoredEnd>,
}

#[derive(Serialize, Deserialize)]
struct StoredEnd {
    /// Milliseconds since 1970.
    at_ms: u64,
    /// Why it failed.
    failed: Option<String>,
}

impl Journal {
    /// Reads it. One that is not there is empty. One that cannot be read says of every server that nothing is known: to
    /// forget what was done would be to do it twice.
    pub fn open(path: &Path) -> Self {
        let read = match std::fs::read(path) {
            Ok(bytes) => read(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error.to_string()),
        };
        let path = path.to_owned();
        match read {
            Ok(records) => Self { path, records, unread: None },
            Err(error) => {
                let why = format!(
                    "{} cannot be read ({error}), so it is not known what was restarted: remove it and restart the agent, once \
                     no order that was carried out is left",
                    path.display()
                );
                tracing::error!("{why}");
                let unread = Some(Record { id: String::new(), stage: Stage::Unread(why) });
                Self { path, records: BTreeMap::new(), unread }
            }
        }
    }

    /// What is remembered of a server.
    pub fn record(&self, server: &Name) -> Option<&Record> {
        self.unread.as_ref().or_else(|| self.records.get(server))
    }

    /// Remembers that an order begins, before it does.
    ///
    /// # Errors
    /// The file cannot be written; nothing is remembered, and the order must not begin.
    pub fn begin(&mut self, server: &Name, id: &str) -> io::Result<()> {
        let mut records = self.records.clone();
        records.insert(server.clone(), Record { id: id.to_owned(), stage: Stage::Begun });
        while records.len() > MOST_RECORDS {
            let Some(first) = records.keys().find(|name| *name != server).cloned() else { break };
            records.remove(&first);
        }
        self.save(&records)?;
        self.records = records;
        Ok(())
    }

    /// Remembers that an order ended.
    ///
    /// # Errors
    /// The file cannot be written. It is remembered in memory: a restart of the agent finds it interrupted.
    pub fn end(
        &mut self,
        server: &Name,
        id: &str,
        outcome: Result<(), String>,
        at: Duration,
    ) -> io::Result<()> {
        let record = Record { id: id.to_owned(), stage: Stage::Ended(at, outcome) };
        self.records.insert(server.clone(), record);
        self.save(&self.records)
    }

    fn save(&self, records: &BTreeMap<Name, Record>) -> io::Result<()> {
        let restarts = records.iter().map(|(server, record)| StoredRestart {
            real_server: server.to_string(),
            id: record.id.clone(),
            ended: match &record.stage {
                Stage::Begun | Stage::Unread(_) => None,
                Stage::Ended(at, outcome) => Some(StoredEnd {
                    at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                    failed: outcome.as_ref().err().cloned(),
                }),
            },
        });
        let stored = Stored { restarts: restarts.collect() };
        durable::write_atomic(&self.path, &serde_json::to_vec_pretty(&stored)?)
    }
}

fn read(bytes: &[u8]) -> Result<BTreeMap<Name, Record>, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let record = |stored: StoredRestart| {
        let name: Name = stored
            .real_server
            .parse()
            .map_err(|error| format!("real_server {:?}: {error}", stored.real_server))?;
        let stage = match stored.ended {
            None => Stage::Begun,
            Some(StoredEnd { at_ms, failed }) => {
                Stage::Ended(Duration::from_millis(at_ms), failed.map_or(Ok(()), Err))
            }
        };
        Ok((name, Record { id: stored.id, stage }))
    };
    stored.restarts.into_iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web1() -> Name {
        "web1".parse().expect("a name")
    }

    #[test]
    fn what_was_begun_and_what_ended_outlives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restarts.json");
        let mut journal = Journal::open(&path);
        assert_eq!(journal.record(&web1()), None);
        journal.begin(&web1(), "a@1").unwrap();
        let begun = Record { id: "a@1".to_owned(), stage: Stage::Begun };
        assert_eq!(Journal::open(&path).record(&web1()), Some(&begun));
        for outcome in [Ok(()), Err("exit status: 1".to_owned())] {
            let at = Duration::from_millis(7);
            journal.end(&web1(), "a@1", outcome.clone(), at).unwrap();
            let ended = Record { id: "a@1".to_owned(), stage: Stage::Ended(at, outcome) };
            assert_eq!(Journal::open(&path).record(&web1()), Some(&ended));
        }
    }

    #[test]
    fn a_damaged_journal_says_that_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restarts.json");
        for text in ["{\"restarts\":", r#"{"restarts":[{"real_server":"Web 1","id":"a"}]}"#] {
            std::fs::write(&path, text).unwrap();
            let journal = Journal::open(&path);
            let stage = journal.record(&web1()).map(|record| &record.stage);
            assert!(matches!(stage, Some(Stage::Unread(_))), "{stage:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restarts.json");
        let mut journal = Journal::open(&path);
        std::fs::create_dir(dir.path().join("restarts.json.tmp")).unwrap();
        journal.begin(&web1(), "a@1").expect_err("it cannot be written");
        assert_eq!(journal.record(&web1()), None);
    }

    #[test]
    fn it_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("restarts.json"));
        for index in 0..MOST_RECORDS {
            let record = Record { id: "a@1".to_owned(), stage: Stage::Begun };
            journal.records.insert(format!("s{index}").parse().unwrap(), record);
        }
        journal.begin(&web1(), "a@1").unwrap();
        assert_eq!(journal.records.len(), MOST_RECORDS);
        assert!(journal.record(&web1()).is_some());
    }
}
