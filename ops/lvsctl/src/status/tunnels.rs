//! What takes packets out of tunnels at real servers' hosts, in words.

use fulcrum_proto::v1;

use crate::paint::Paint;
use crate::table::{Cell, Table};

/// A row for each: packets, who takes them, and for which VIPs or why not.
pub(super) fn rows(table: &mut Table, ends: &[v1::TunnelEnd], paint: Paint) {
    for end in ends {
        let is_well = end.problem.is_empty();
        let colour = |text: &str| if is_well { paint.good(text) } else { paint.bad(text) };
        let by = Cell::painted(&taken(end), colour);
        let why =
            if is_well { format!("for {}", end.vips.join(", ")) } else { end.problem.clone() };
        table.row([end.packets.clone().into(), by, why.into()]);
    }
}

fn taken(end: &v1::TunnelEnd) -> String {
    match (end.taken_by.as_str(), end.foreign) {
        ("", _) => "nobody takes it".to_owned(),
        (name, false) => format!("taken by {name}"),
        (name, true) => format!("taken by {name}, another program's"),
    }
}

/// For a VIP: `its packets in ipip to 10.0.0.8 are taken out by fulcrum-ipip-0`.
pub(super) fn of_vip(vip: &str, ends: &[v1::TunnelEnd]) -> Vec<String> {
    let its = ends.iter().filter(|end| end.vips.iter().any(|of| of == vip));
    its.map(|end| {
        let packets = &end.packets;
        if !end.problem.is_empty() {
            format!("its packets in {packets} do not arrive: {}", end.problem)
        } else if end.foreign {
            format!("its packets in {packets} are taken out by {}, another program's", end.taken_by)
        } else {
            format!("its packets in {packets} are taken out by {}", end.taken_by)
        }
    })
    .collect()
}
