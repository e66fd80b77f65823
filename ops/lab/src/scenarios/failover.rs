//! The Active director goes, by power loss or by plan, against keepalived in the same run.

use anyhow::Result;

use crate::contest;
use crate::findings::Findings;
use crate::lab::Lab;
use crate::pair::Side;
use crate::settings::{FAST, QUICK, SEED, Settings};

/// The settings of the power losses, with their names in figures.
const ADVERTS: [(&Settings, &str); 3] =
    [(&SEED, "1s_adverts"), (&FAST, "100ms_adverts"), (&QUICK, "20ms_adverts")];

/// A median may be longer than keepalived's by this factor and these milliseconds.
const FACTOR: f64 = 1.05;
const ALLOWANCE_MS: f64 = 20.0;

/// Power loss: link down and SIGKILL, right after an advert.
pub(crate) fn power_loss(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    findings.figure("trials", f64::from(lab.contest.effort.trials));
    for (settings, adverts) in ADVERTS {
        let results = contest::failovers(lab, settings)?;
        let ours = results[&Side::Fulcrum].outage()?;
        let theirs = results[&Side::Keepalived].outage()?;
        findings.figure(format!("outage_ms_{adverts}"), ours);
        findings.figure(format!("keepalived_outage_ms_{adverts}"), theirs);
        let bound = FACTOR * theirs + ALLOWANCE_MS;
        findings.at_most(&format!("median outage in ms at {}", settings.name), ours, bound);
    }
    Ok(())
}

/// Planned stop. The plain figures are of the seed's settings.
pub(crate) fn handover(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    for (settings, suffix) in [(&SEED, ""), (&FAST, "_100ms_adverts")] {
        let results = contest::failovers(lab, settings)?;
        let (requests, failed) = results[&Side::Fulcrum].handover()?;
        let (_, theirs) = results[&Side::Keepalived].handover()?;
        findings.figure(format!("requests{suffix}"), requests);
        findings.figure(format!("failed{suffix}"), failed);
        findings.figure(format!("keepalived_failed{suffix}"), theirs);
        findings.require(
            failed < theirs,
            format!(
                "fewer failed requests ({failed}) than keepalived's {theirs} at {}",
                settings.name
            ),
        );
    }
    Ok(())
}
