//! The script that makes the ground ready for the inner part: the first program of a user-mode-linux kernel, or of a
//! process namespace on the running one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Request, emulated};
use crate::catalog::Scenario;
use crate::peers::collector;

/// Modules that scenarios use. A missing scheduler is a scenario's matter, hence no failure here.
const MODULES: &str = "ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_sh ip_vs_dh ip_vs_fo ip_vs_lblc ip_vs_lblcr ip_vs_mh ip_vs_nq \
     ip_vs_ovf ip_vs_sed ip_vs_pe_sip veth bridge macvlan ipv6 nlmon sch_ingress cls_flower act_skbedit \
     ipip sit ip6_tunnel fou fou6 ip_gre ip6_gre sctp nf_tables nft_ct";

/// Whose first program it is.
pub(crate) enum Ground {
    /// A user-mode-linux kernel's.
    Uml,
    /// An emulated machine's, with this kernel.
    Emulated(emulated::Kernel),
    /// A process namespace's.
    Plain,
}

/// Writes it into `out`; it answers there too.
pub(crate) fn write(
    ground: &Ground,
    batch: &[&'static Scenario],
    out: &Path,
    request: &Request,
    collector: Option<&Path>,
) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let names: Vec<&str> = batch.iter().map(|scenario| scenario.name).collect();
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let machine = |devices: &str, mount: &str, modules: &str| {
        format!(
            "mount -t proc proc /proc; mount -t sysfs sysfs /sys\n\
             {devices}\
             mount -t tmpfs tmpfs /run\n\
             mkdir -p /run/netns /run/out /run/modules/lib/modules\n\
             mount {mount} /run/out\n\
             ln -s {modules} /run/modules/lib/modules/\n\
             for module in {MODULES}; do modprobe -q -d /run/modules $module; done\n"
        )
    };
    let ground_text = match ground {
        Ground::Uml => machine(
            "",
            &format!("-t hostfs -o {} none", quoted(out)),
            "\"/usr/lib/uml/modules/$(uname -r)\"",
        ),
        Ground::Emulated(kernel) => machine(
            "mount -t devtmpfs devtmpfs /dev\n",
            &format!("--bind {}", quoted(out)),
            &quoted(&kernel.modules()),
        ),
        Ground::Plain => format!(
            "mount --make-rprivate /\n\
             for module in {MODULES}; do modprobe -q $module; done\n\
             mkdir -p {out_quoted}\n\
             exec 3<{out_quoted}\n\
             mount -t tmpfs tmpfs /run\n\
             mkdir -p /run/netns /run/out\n\
             mount --bind /proc/self/fd/3 /run/out\n",
            out_quoted = quoted(out)
        ),
    };
    let power_off = match ground {
        Ground::Uml | Ground::Emulated(_) => " --power-off",
        Ground::Plain => "",
    };
    let collector = collector
        .map(|program| format!("export {}={}\n", collector::VARIABLE, quoted(program)))
        .unwrap_or_default();
    let text = format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LANG=C.UTF-8\n\
         {ground_text}\
         ip link set lo up\n\
         mkdir -p /run/tmp; export TMPDIR=/run/tmp\n\
         {collector}\
         {} inner{power_off} --trials {}{} --out /run/out --bin-dir {} {}\n",
        quoted(&own),
        request.effort.trials,
        if request.effort.is_full { " --full" } else { "" },
        quoted(&request.bin_dir),
        names.join(" ")
    );
    let script = out.join("init");
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}
