//! The second machine as a scenario in the first one sees it: orders in a directory that both share with the host.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::wait_until;

/// The directory of orders, within the output directory.
pub(crate) const DIRECTORY: &str = "twin";
/// The last order: its number and its word.
pub(crate) const ORDER: &str = "order";
/// Number of the last order that was carried out.
pub(crate) const DONE: &str = "done";
/// How long an order may take: a process is started or signalled.
const CARRY_OUT: Duration = Duration::from_secs(10);
/// Written in the output directory by whoever has a second machine to give.
const OUT: &str = "/run/out";

/// What can be asked of the second machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Boot, anew if it runs.
    Start,
    /// Nothing of it runs until it is resumed.
    Pause,
    /// It goes on.
    Resume,
    /// Power off.
    End,
}

impl Order {
    const ALL: [Self; 4] = [Self::Start, Self::Pause, Self::Resume, Self::End];

    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::End => "end",
        }
    }

    /// The number and the order of the file [`ORDER`]; none while there is none, or half of one.
    pub(crate) fn parse(text: &str) -> Option<(u32, Self)> {
        let (number, word) = text.strip_suffix('\n')?.split_once(' ')?;
        let order = Self::ALL.into_iter().find(|order| order.word() == word)?;
        Some((number.parse().ok()?, order))
    }
}

/// The second machine. Dropping it powers it off.
#[derive(Debug)]
pub(crate) struct Twin {
    dir: PathBuf,
    orders: u32,
}

impl Twin {
    /// Where it is ordered.
    ///
    /// # Errors
    /// When this machine was booted without one.
    pub(crate) fn find() -> Result<Self> {
        let dir = Path::new(OUT).join(DIRECTORY);
        fs::metadata(&dir).context("there is no second machine: run it with --kernel uml")?;
        let done = fs::read_to_string(dir.join(DONE)).unwrap_or_default();
        Ok(Self { dir, orders: done.parse().unwrap_or_default() })
    }

    /// Boots it with this as its first program, a shell script. Its interface is `vec0`.
    pub(crate) fn start(&mut self, script: &str) -> Result<()> {
        let path = self.dir.join("init");
        let mut file = File::create(&path)?;
        file.write_all(script.as_bytes())?;
        file.sync_all()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        self.order(Order::Start)
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        self.orders += 1;
        let mut file = File::create(self.dir.join(ORDER))?;
        file.write_all(format!("{} {}\n", self.orders, order.word()).as_bytes())?;
        file.sync_all()?;
        let done = self.dir.join(DONE);
        let number = self.orders.to_string();
        let what = format!("the host carries out: {} the second machine", order.word());
        wait_until(&what, CARRY_OUT, || {
            let is_done = fs::read_to_string(&done).is_ok_and(|text| text == number);
            Ok(is_done.then_some(()))
        })
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // It ends with this machine anyway.
        let _ = self.order(Order::End);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_whole_or_not_at_all() {
        for (text, expected) in [
            ("1 start\n", Some((1, Order::Start))),
            ("12 pause\n", Some((12, Order::Pause))),
            ("3 resume\n", Some((3, Order::Resume))),
            ("4 end\n", Some((4, Order::End))),
            ("", None),
            ("1 sta", None),
            ("1 start", None),
            ("x start\n", None),
            ("1 sleep\n", None),
        ] {
            assert_eq!(Order::parse(text), expected, "{text:?}");
        }
    }
}
