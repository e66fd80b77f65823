//! A JVM on this host: its counters, and whether the kernel killed it for want of memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::hsperf;
use super::root::{ProcessRoot, owner, read_bounded};

/// HotSpot's directory for these files, whatever `java.io.tmpdir` says (`os::get_temp_directory`).
const DIRECTORY: &str = "/tmp";
/// Most bytes of a file of `/proc` or of a control group.
const MAX_TEXT: u64 = 64 << 10;

/// The file of a JVM's counters, held open.
#[derive(Debug)]
pub struct CounterFile {
    file: File,
}

impl CounterFile {
    /// Finds that of a process. None where it keeps none: no JVM, or one with `-XX:-UsePerfData` or `-XX:+PerfDisableSharedMem`.
    ///
    /// # Errors
    /// The process has ended, or we may not look at it.
    pub fn find(pid: u32) -> io::Result<Option<Self>> {
        let status = File::open(format!("/proc/{pid}/status"))?;
        let status = String::from_utf8_lossy(&read_bounded(status, MAX_TEXT)?).into_owned();
        let Some((inner_pid, user)) = identity(&status) else { return Ok(None) };
        let root = ProcessRoot::of(pid)?;
        for directory in root.list(Path::new(DIRECTORY), "hsperfdata_")? {
            let Ok(file) = root.open(&directory.join(inner_pid.to_string())) else { continue };
            // Anybody may write to /tmp: only the process's own user speaks for it.
            if owner(&file)? == user {
                return Ok(Some(Self { file }));
            }
        }
        Ok(None)
    }

    /// Reads the counters as they stand.
    ///
    /// # Errors
    /// The file cannot be read, or is no `hsperfdata`.
    pub fn read(&self) -> io::Result<hsperf::Counters> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let bytes = read_bounded(file, hsperf::MAX_FILE)?;
        hsperf::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// The process's number in its innermost namespace, and its effective user, from `/proc/PID/status`.
fn identity(status: &str) -> Option<(u32, u32)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let inner = field("NSpid:")?.split_ascii_whitespace().last()?.parse().ok()?;
    let user = field("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((inner, user))
}

/// A kill counts for an exit that is seen so long after it: the memory of a large JVM takes a while to be given back.
const KILL_TO_EXIT: Duration = Duration::from_secs(10);

/// Counts the kernel's kills for want of memory in a process's control group, read while the process lives.
#[derive(Debug)]
pub struct OomWatch {
    /// The group, then its parent. Held open, for a group may be removed as soon as it is empty.
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    file: File,
    count: u64,
    rose: Option<Instant>,
}

impl OomWatch {
    /// Of a process that lives.
    ///
    /// # Errors
    /// The process has ended.
    pub fn new(pid: u32) -> io::Result<Self> {
        let text = read_bounded(File::open(format!("/proc/{pid}/cgroup"))?, MAX_TEXT)?;
        let mut groups = Vec::new();
        for path in count_files(&String::from_utf8_lossy(&text)) {
            let Ok(mut file) = File::open(path) else { continue };
            if let Ok(count) = read_kills(&mut file) {
                groups.push(Group { file, count, rose: None });
            }
        }
        Ok(Self { groups })
    }

    /// Looks, and tells whether there were kills lately. Often enough, and an old one is not taken for that of an exit.
    pub fn has_killed(&mut self, now: Instant) -> bool {
        let mut answer = None;
        for group in &mut self.groups {
            let Ok(count) = read_kills(&mut group.file) else { continue };
            if count > group.count {
                group.rose = Some(now);
            }
            group.count = count;
            let is_late = group.rose.is_some_and(|at| now.duration_since(at) <= KILL_TO_EXIT);
            // The parent counts other groups' kills too: it speaks only for a group that was removed (ENODEV).
            answer = answer.or(Some(is_late));
        }
        answer.unwrap_or(false)
    }
}

/// Files that tell `oom_kill N` for the groups of `/proc/PID/cgroup`: version 2 of the group and its parent, which counts what is
/// below it (`Documentation/admin-guide/cgroup-v2.rst`), version 1 of the memory controller's.
fn count_files(cgroup: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let group = Path::new(group.trim_start_matches('/'));
        // A group outside of our namespace is told as /../x, and is not to be reached.
        if group.components().any(|part| part == std::path::Component::ParentDir) {
            continue;
        }
        if controllers.is_empty() {
            let top = Path::new("/sys/fs/cgroup");
            files.push(top.join(group).join("memory.events"));
            let parent = group.parent().filter(|parent| !parent.as_os_str().is_empty());
            files.extend(parent.map(|parent| top.join(parent).join("memory.events")));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.push(Path::new("/sys/fs/cgroup/memory").join(group).join("memory.oom_control"));
        }
    }
    files
}

fn read_kills(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text)?;
    kills(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_inner_number() {
        let status = "Name:\tjava\nUid:\t998\t999\t998\t998\nNSpid:\t17811\t7\n";
        assert_eq!(identity(status), Some((7, 999)));
        assert_eq!(identity("Name:\tjava\nUid:\t998\n"), None);
    }

    #[test]
    fn kills_are_counted_in_the_group_and_above() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(kills(events), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(kills("low 0\n"), None);
        let files = |text: &str| {
            let paths = count_files(text).into_iter();
            paths.map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            files("0::/system.slice/tomcat10.service\n"),
            [
                "/sys/fs/cgroup/system.slice/tomcat10.service/memory.events",
                "/sys/fs/cgroup/system.slice/memory.events",
            ]
        );
        assert_eq!(
            files("4:cpu,memory:/a/b\n1:cpu:/\n0::/\n"),
            ["/sys/fs/cgroup/memory/a/b/memory.oom_control", "/sys/fs/cgroup/memory.events"]
        );
        assert_eq!(files("0::/../other\nnonsense\n"), Vec::<String>::new());
    }

    #[test]
    fn a_rise_is_seen_where_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let group = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "oom_kill 2\n").unwrap();
            Group { file: File::open(path).unwrap(), count: 2, rose: None }
        };
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        let mut watch = OomWatch { groups: vec![group("own"), group("parent")] };
        let start = Instant::now();
        let mut at = |seconds| watch.has_killed(start + Duration::from_secs(seconds));
        assert!(!at(0));
        write("parent", "oom_kill 3\n");
        assert!(!at(1), "another group's");
        write("own", "oom_kill 3\n");
        assert!(at(2));
        assert!(at(12), "its memory is being given back");
        assert!(!at(13), "the process lived on: it was another's");
        write("own", "");
        write("parent", "oom_kill 4\n");
        assert!(at(14), "the group is gone, and its parent speaks for it");
    }

    #[test]
    fn our_own_process_is_no_jvm() {
        assert!(CounterFile::find(std::process::id()).unwrap().is_none());
    }
}
