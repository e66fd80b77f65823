//! The plan on disk, so that an agent restarts without any controller.
//!
//! The file: the line `fulcrum-plan 1`, 32 bytes of SHA-256 over what follows, then a whole `fulcrum.v1.PlanUpdate`. It is
//! replaced whole and synced, so kill -9 and power loss leave the old plan or the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use fulcrum_model::{PlanVersion, Revision};
use fulcrum_proto::v1;
use fulcrum_runtime::durable;
use prost::Message;
use sha2::{Digest, Sha256};

const HEADER: &[u8] = b"fulcrum-plan 1\n";
const CHECKSUM_BYTES: usize = 32;
/// The release of this program, whose plans it knows every field of.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
const UNDECODABLE: &str = "its content cannot be decoded";

/// The plan that an agent runs on, by key, in memory and on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanCache {
    path: PathBuf,
    version: Option<v1::PlanVersion>,
    /// Encoded: they are kept for a restart and to be compared, and decoded they take ten times as much.
    objects: BTreeMap<String, Box<[u8]>>,
}

/// A [`v1::PlanUpdate`] on disk, with its objects left encoded.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(message, optional, tag = "1")]
    version: Option<v1::PlanVersion>,
    #[prost(bool, tag = "2")]
    whole: bool,
    #[prost(bytes = "vec", repeated, tag = "3")]
    objects: Vec<Vec<u8>>,
    /// Release of the agent that took the plan. The number is none of [`v1::PlanUpdate`]'s.
    #[prost(string, tag = "100")]
    taken_by: String,
}

/// The saved plan cannot be used. The agent reports it and goes on from [`PlanCache::empty`], as if it had none.
#[derive(Debug, thiserror::Error)]
pub enum PlanCacheError {
    /// The file cannot be read.
    #[error("cannot read the saved plan {path}: {source}; let this program's user read it", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold what was saved.
    #[error(
        "the saved plan {path} is damaged ({what}) and is left aside; the next plan from a controller replaces it",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
}

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanChange {
    /// Keys of objects that are new or differ.
    pub changed: BTreeSet<String>,
    /// Keys of objects that went.
    pub removed: BTreeSet<String>,
}

impl PlanChange {
    /// Only the version changed, if anything.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// An update that must not be applied; the plan stays as it was. The text is fit for `PlanAck.reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefused {
    /// It has no version.
    #[error("the plan has no version")]
    NoVersion,
    /// It is of another cluster.
    #[error(
        "the plan is of cluster {offered} and this agent belongs to {ours}: point the agent at its own controllers, or stop \
         it and remove its saved plan to move it"
    )]
    OtherCluster {
        /// The agent's.
        ours: String,
        /// The update's.
        offered: String,
    },
    /// It is older than the plan in force.
    #[error("the plan {offered} is older than {ours}, which is in force")]
    Older {
        /// In force.
        ours: PlanVersion,
        /// The update's.
        offered: PlanVersion,
    },
    /// It tells only what changed, and there is no plan that it could change.
    #[error(
        "the plan {offered} tells only what changed, and this agent has no plan yet: send it whole"
    )]
    NothingToChange {
        /// The update's.
        offered: PlanVersion,
    },
    /// An object without key or content: made by a later version of the API.
    #[error(
        "the plan holds the object {key:?} with nothing in it that this agent knows: upgrade the agent"
    )]
    UnknownObject {
        /// The object's key.
        key: String,
    },
}

impl PlanCache {
    /// Reads the saved plan. A file that is not there is no plan, and no error.
    ///
    /// # Errors
    /// [`PlanCacheError`] when the file cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, PlanCacheError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty(path)),
            Err(source) => return Err(PlanCacheError::Read { path: path.to_owned(), source }),
        };
        decode(&bytes)
            .and_then(|saved| Self::empty(path).with_saved(saved))
            .map_err(|what| PlanCacheError::Damaged { path: path.to_owned(), what })
    }

    fn with_saved(mut self, saved: Saved) -> Result<Self, &'static str> {
        if !saved.whole || saved.version.is_none() {
            return Err("it is no whole plan");
        }
        for bytes in saved.objects {
            let object = v1::PlanObject::decode(bytes.as_slice()).map_err(|_| UNDECODABLE)?;
            if is_hollow(&object) {
                return Err("it is no whole plan");
            }
            self.objects.insert(object.key, bytes.into_boxed_slice());
        }
        self.version = saved.version;
        if saved.taken_by != RELEASE
            && let Some(version) = &mut self.version
        {
            // Another release dropped the fields that it did not know: the plan is in force, and comes whole once more.
            version.planner.clear();
        }
        Ok(self)
    }

    /// No plan, to be saved at `path` later.
    pub fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), version: None, objects: BTreeMap::new() }
    }

    /// The plan's version; none when there is no plan.
    pub fn version(&self) -> Option<&v1::PlanVersion> {
        self.version.as_ref()
    }

    /// The keys of the plan's objects, ordered.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.objects.keys()
    }

    /// Whether the plan has an object of that key.
    pub fn contains(&self, key: &str) -> bool {
        self.objects.contains_key(key)
    }

    /// The plan's object of that key.
    pub fn object(&self, key: &str) -> Option<v1::PlanObject> {
        self.objects.get(key).map(|bytes| decoded(bytes))
    }

    /// The plan's objects, by their keys' order.
    pub fn objects(&self) -> impl Iterator<Item = v1::PlanObject> {
        self.objects.values().map(|bytes| decoded(bytes))
    }

    /// Applies an update in memory. Applying it again changes nothing.
    ///
    /// # Errors
    /// [`PlanRefused`] for another cluster, an older version, changes to a plan that is not there, or an object that cannot
    /// be understood. The plan then stays as it was.
    pub fn apply(&mut self, update: &v1::PlanUpdate) -> Result<PlanChange, PlanRefused> {
        let version = update.version.as_ref().ok_or(PlanRefused::NoVersion)?;
        self.check(version, update)?;
        let told: BTreeSet<&String> = update.objects.iter().map(|object| &object.key).collect();
        let goes =
            |key: &&String| !told.contains(key) && (update.whole || update.removed.contains(key));
        let mut change = PlanChange {
            removed: self.objects.keys().filter(goes).cloned().collect(),
            ..PlanChange::default()
        };
        for key in &change.removed {
            self.objects.remove(key);
        }
        for object in &update.objects {
            let bytes = object.encode_to_vec().into_boxed_slice();
            if self.objects.get(&object.key) != Some(&bytes) {
                self.objects.insert(object.key.clone(), bytes);
                change.changed.insert(object.key.clone());
            }
        }
        self.version = Some(version.clone());
        Ok(change)
    }

    /// Puts the plan on stable storage. Without a plan there is nothing to save.
    ///
    /// # Errors
    /// Any error of the file system, with its remedy where known; the file then holds the plan before.
    pub fn save(&self) -> io::Result<()> {
        let Some(version) = &self.version else { return Ok(()) };
        let objects = self.objects.values().map(|bytes| bytes.to_vec()).collect();
        let saved = Saved {
            version: Some(version.clone()),
            whole: true,
            objects,
            taken_by: RELEASE.to_owned(),
        };
        durable::write_atomic(&self.path, &encode(&saved))
    }

    fn check(&self, version: &v1::PlanVersion, update: &v1::PlanUpdate) -> Result<(), PlanRefused> {
        let offered = model(version);
        match self.version.as_ref().map(model) {
            Some(ours) if ours.cluster_id != offered.cluster_id => {
                let (ours, offered) = (ours.cluster_id, offered.cluster_id);
                return Err(PlanRefused::OtherCluster { ours, offered });
            }
            Some(ours) if !ours.accepts(&offered) => {
                return Err(PlanRefused::Older { ours, offered });
            }
            None if !update.whole => return Err(PlanRefused::NothingToChange { offered }),
            Some(_) | None => {}
        }
        match update.objects.iter().find(|object| is_hollow(object)) {
            Some(object) => Err(PlanRefused::UnknownObject { key: object.key.clone() }),
            None => Ok(()),
        }
    }
}

/// Without key or content: made by a later version of the API.
fn is_hollow(object: &v1::PlanObject) -> bool {
    object.key.is_empty() || object.object.is_none()
}

fn decoded(bytes: &[u8]) -> v1::PlanObject {
    v1::PlanObject::decode(bytes).expect("it was decoded or encoded here before")
}

fn model(version: &v1::PlanVersion) -> PlanVersion {
    PlanVersion {
        cluster_id: version.cluster_id.clone(),
        incarnation: version.incarnation,
        revision: Revision(version.revision),
    }
}

fn encode(saved: &impl Message) -> Vec<u8> {
    let body = saved.encode_to_vec();
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&Sha256::digest(&body));
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Saved, &'static str> {
    let rest = bytes.strip_prefix(HEADER).ok_or("it does not begin as a saved plan")?;
    let (checksum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or("it is cut short")?;
    if Sha256::digest(body).as_slice() != checksum {
        return Err("its checksum does not fit");
    }
    Saved::decode(body).map_err(|_| UNDECODABLE)
}

#[cfg(test)]
mod tests;
