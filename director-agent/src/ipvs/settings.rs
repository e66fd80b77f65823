//! The host's IPVS settings: sysctls and timeouts, set as wanted, kept so, and put back.
//!
//! Every wish goes through here, so that each setting has one writer. Of several wishes for a setting the first of these
//! counts:
//!
//! 1. what a relay needs, while it lasts (`sloppy_tcp`);
//! 2. what the plan orders: the Director's own words, what the planner makes of nat, and what checks through VIPs need
//!    (`accept_local`);
//! 3. a default of Fulcrum's, in place of the kernel's own value only, for another one is an operator's;
//! 4. none: what we changed goes back to what it was, unless another program has changed it since.
//!
//! What decides is pure: [`wanted`] makes the wishes, [`steps`] compares them with what the host holds and with the notes
//! of what we changed. [`host`] reads and writes, [`carry`] does the steps. Notes are on disk before anything is
//! written; nothing of this outlives a boot, and neither do the notes.

mod carry;
mod explain;
mod host;
mod setting;
mod steps;
mod wanted;

pub(super) use carry::{Event, carry_out};
pub(super) use host::{Host, KernelHost};
pub(super) use setting::{InterfaceName, Note, Notes, Setting, Sysctl, Timeout};
pub(super) use steps::{Found, noted_first, steps};
pub(super) use wanted::{Wishes, accept_local, wishes};
