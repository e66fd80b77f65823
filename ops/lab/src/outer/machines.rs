//! How many machines run scenarios at the same time, and which runs which.

use std::fs;
use std::time::Duration;

use super::{Clock, Kernel, Request, chosen, uml};
use crate::catalog::Scenario;

/// More would boot a cluster each for a scenario or two.
const MOST: usize = 2;

/// As many as the host has room for. Machines whose clock is the host's would take time from one another.
pub(super) fn most(request: &Request) -> usize {
    if request.clock == Clock::Host || chosen(request.kernel) == Kernel::Plain {
        return 1;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let fitting = usize::try_from(available_mib(&meminfo) / uml::MEMORY_MIB).unwrap_or(MOST);
    processors.min(fitting).clamp(1, MOST)
}

/// MiB that programs can have without swapping, as /proc/meminfo says.
fn available_mib(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Shares them out in their order, so that each machine has about the same budget.
pub(super) fn share<'a>(
    scenarios: &'a [&'static Scenario],
    machines: usize,
) -> Vec<&'a [&'static Scenario]> {
    let mut parts = Vec::new();
    let mut rest = scenarios;
    for left in (2..=machines).rev() {
        let budget = |part: &[&'static Scenario]| -> Duration {
            part.iter().map(|scenario| scenario.budget).sum()
        };
        let fair = budget(rest) / u32::try_from(left).unwrap_or(u32::MAX);
        let off = |cut: &usize| budget(&rest[..*cut]).abs_diff(fair);
        let Some(cut) = (1..rest.len()).min_by_key(off) else { break };
        let (part, others) = rest.split_at(cut);
        parts.push(part);
        rest = others;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ALL, Ground};

    #[test]
    fn machines_share_all_scenarios_fairly_and_in_order() {
        let all: Vec<&'static Scenario> =
            ALL.iter().filter(|scenario| scenario.ground == Ground::Kernel).collect();
        for machines in 1..=3 {
            let parts = share(&all, machines);
            assert_eq!(parts.len(), machines);
            let names = |scenarios: &[&'static Scenario]| -> Vec<&str> {
                scenarios.iter().map(|scenario| scenario.name).collect()
            };
            assert_eq!(names(&parts.concat()), names(&all));
            let budgets = parts
                .iter()
                .map(|part| -> Duration { part.iter().map(|scenario| scenario.budget).sum() });
            let least = budgets.clone().min().unwrap_or_default();
            let off = budgets.max().unwrap_or_default().abs_diff(least);
            assert!(off <= Duration::from_mins(20), "{off:?} with {machines}");
        }
        assert_eq!(share(&all[..1], 2).len(), 1);
    }

    #[test]
    fn memory_is_what_programs_can_have() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree: 1 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(available_mib(meminfo), 20_480);
        assert_eq!(available_mib(""), 0);
    }
}
