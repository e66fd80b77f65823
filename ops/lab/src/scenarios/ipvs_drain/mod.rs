//! A real server is drained by order and used again, all of them die and the sorry server stands in, and the host of one
//! is cut off with connections kept or reset, on the seed's cluster under load.

mod cut_off;
mod order;
mod sorry;

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Result;

use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{PORT, VIP, WEBS};
use crate::pair::Side;
use crate::settings::{Balancing, Check, FAST, Settings};

/// What clients connect to.
const TARGET: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// The real server that is drained, comes back first and is cut off.
const WEB: SocketAddrV4 = SocketAddrV4::new(WEBS[0].address, PORT);
/// Weight of each real server, of which slow start has ten steps.
const WEIGHT: u32 = 10;
/// As [`BALANCING`] says it.
const SLOW_START: Duration = Duration::from_secs(4);
/// Longest wait for what should take some seconds.
const LONG: Duration = Duration::from_mins(1);
/// What a busy machine may take from a decision to its effect, such as an edit and the next of the client's requests.
const SLACK: Duration = Duration::from_millis(500);
/// How long the page must be steady between two blows.
const STEADY: Duration = Duration::from_millis(500);

const BALANCING: Balancing = Balancing {
    member: ", weight: 10",
    pool: "  sorry_server: {real_server: sorry}\n  slow_start: 4s\n",
    virtual_server: "",
    resources: "---\nkind: RealServer\nname: sorry\nspec: {site: main, rip: 192.168.1.140, port: 80, probe: {http_path: \
                /}}\n",
};

/// Checks that find a dead real server within a second, so that what follows is measured and not they.
const KEEPS: Settings = Settings {
    name: "200 ms checks, sorry server, slow start",
    check: Check {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        retries: 1,
        retry_delay: Duration::from_millis(100),
        is_http: false,
    },
    balancing: BALANCING,
    ..FAST
};

/// The same, with connections of the dead reset.
const RESETS: Settings = Settings {
    name: "200 ms checks, connections of the dead reset",
    balancing: Balancing { virtual_server: "  on_failure: reset\n", ..BALANCING },
    ..KEEPS
};

/// Longest time from a real server's end until no new connection goes there: its last check may have just begun, and
/// each of the two that must fail waits for its answer.
fn out_within() -> Duration {
    let check = KEEPS.check;
    check.detection() + check.timeout * (check.retries + 1) + SLACK
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.raise_network()?;
    let host = sorry::SorryHost::start(lab)?;
    let mut stage = lab.stage(Side::Fulcrum, &KEEPS)?;
    let acknowledged = order::drain(&stage, findings)?;
    order::survive(&mut stage, acknowledged, findings)?;
    order::undrain(&stage, findings)?;
    sorry::all_die(&mut stage, findings)?;
    cut_off::keep(&mut stage, findings)?;
    stage.cluster.apply(&RESETS)?;
    stage.wait_whole()?;
    cut_off::reset(&mut stage, findings)?;
    stage.client.stop()?;
    drop(host);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::manifest;
    use crate::net::topology::SORRY;

    #[test]
    fn the_manifest_says_what_is_measured() {
        let text = manifest::seed(&RESETS);
        let line = format!("name: {}\nspec: {{site: main, rip: {},", SORRY.name, SORRY.address);
        assert!(text.contains(&line), "{text}");
        assert!(text.contains(&format!("{{real_server: web1, weight: {WEIGHT}}}")));
        assert!(text.contains(&format!("\n  slow_start: {}s\n", SLOW_START.as_secs())));
        assert!(text.contains("\n  pool: tomcats\n  on_failure: reset\n---\n"));
    }
}
