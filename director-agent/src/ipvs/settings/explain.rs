//! Why a setting is not as wanted, in words with the remedy.

use std::io;

use super::wanted::{Source, Wish};
use super::{Setting, Sysctl};

/// It could not be written.
pub(super) fn not_written(setting: Setting, wish: &Wish, error: &io::Error) -> String {
    let Wish { value, .. } = wish;
    let lost = lost(setting, wish);
    let remedy = remedy(setting, value, error);
    format!("{setting} cannot be set to {value} ({error}){lost}: {remedy}")
}

/// It could not be put back.
pub(super) fn not_put_back(setting: Setting, before: &str, error: &io::Error) -> String {
    let remedy = remedy(setting, before, error);
    format!("{setting} cannot be put back to {before} ({error}): {remedy}")
}

/// It could not be read.
pub(super) fn unreadable(setting: Setting, why: &str) -> String {
    format!(
        "{setting} cannot be read ({why}): give the agent CAP_NET_ADMIN and a readable /proc/sys"
    )
}

/// This kernel has no such setting, and it was asked for.
pub(super) fn absent(setting: Setting, wish: &Wish) -> String {
    let Wish { value, .. } = wish;
    let lost = lost(setting, wish);
    let remedy = match wish.source {
        Source::Plan => "take it out of the Director's ipvs, or run a kernel that has it",
        Source::Relay | Source::Path | Source::Default { .. } => "run a kernel that has it",
    };
    format!(
        "{setting} cannot be set to {value} (this kernel has no setting of that name){lost}: {remedy}"
    )
}

/// One text for all: who reads it sees that one thing is wrong, however many settings it concerns.
fn remedy(setting: Setting, value: &str, error: &io::Error) -> String {
    let by_hand = setting.by_hand(value);
    match error.kind() {
        io::ErrorKind::InvalidInput => format!(
            "the kernel does not take this value: choose another (kernel documentation, networking/ipvs-sysctl), or try it \
             with `{by_hand}`"
        ),
        _ => format!(
            "give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no ProtectKernelTunables), or set it by \
             hand: `{by_hand}`"
        ),
    }
}

/// What is lost without it.
fn lost(setting: Setting, wish: &Wish) -> &'static str {
    let is_forward = matches!(setting, Setting::Sysctl(Sysctl::IpForward | Sysctl::Ipv6Forward));
    match wish.source {
        Source::Relay => ", so connections are not relayed",
        Source::Plan if is_forward && wish.value == "1" => {
            ", so answers of real servers in nat are not forwarded"
        }
        Source::Plan => ", as the plan wants it",
        Source::Path => ", so answers to checks through VIPs that this director holds are dropped",
        Source::Default { lost, .. } => lost,
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::Timeout;
    use super::*;

    #[test]
    fn a_problem_names_setting_value_reason_and_remedy() {
        let wish = |value: &str, source| Wish { value: value.to_owned(), source };
        let default = Source::Default { in_place_of: "0", lost: ", so something is lost" };
        for (setting, wish, errno, expected) in [
            (
                Setting::Sysctl(Sysctl::ExpireNodestConn),
                wish("1", default),
                Errno::EROFS,
                "net.ipv4.vs.expire_nodest_conn cannot be set to 1 (Read-only file system (os error 30)), so something \
                 is lost: give the agent CAP_NET_ADMIN and a writable \
                 /proc/sys (under systemd, no ProtectKernelTunables), or set it by hand: `sysctl -w \
                 net.ipv4.vs.expire_nodest_conn=\"1\"`",
            ),
            (
                Setting::Sysctl(Sysctl::SloppyTcp),
                wish("1", Source::Relay),
                Errno::EACCES,
                "net.ipv4.vs.sloppy_tcp cannot be set to 1 (Permission denied (os error 13)), so connections are not \
                 relayed: give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no \
                 ProtectKernelTunables), or set it by hand: `sysctl -w net.ipv4.vs.sloppy_tcp=\"1\"`",
            ),
            (
                Setting::Timeout(Timeout::Udp),
                wish("2000000", Source::Plan),
                Errno::EINVAL,
                "ipvs.udp_timeout cannot be set to 2000000 (Invalid argument (os error 22)), as the plan wants it: the \
                 kernel does not take this value: choose another (kernel documentation, networking/ipvs-sysctl), or try \
                 it with `ipvsadm --set 0 0 2000000`",
            ),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(not_written(setting, &wish, &error), expected);
        }
    }
}
