//! Connections as `ipvsadm -Lnc` prints them.

use super::socket;
use crate::v1;

/// The header, two lines; `with_engine` adds what persistence engines told clients apart by (`--persistent-conn`).
pub fn connections_title(with_engine: bool) -> String {
    let (state, source, virtual_server) = ("state", "source", "virtual");
    let title = format!("pro expire {state:<11} {source:<18} {virtual_server:<18}");
    let destination = "destination";
    if with_engine {
        let name = "pe name";
        format!("IPVS connection entries\n{title} {destination:<18} {name:<16} pe_data\n")
    } else {
        format!("IPVS connection entries\n{title} {destination}\n")
    }
}

/// A connection's line, with its newline.
pub fn connection_line(with_engine: bool, found: &v1::IpvsConnection) -> String {
    let v1::IpvsConnection { protocol, state, .. } = found;
    let expires = format!("{:02}:{:02}", found.expires_s / 60, found.expires_s % 60);
    let client = socket(&found.client, found.client_port);
    let virtual_server = socket(&found.vip, found.port);
    let destination = socket(&found.destination, found.destination_port);
    let ends = format!("{protocol:<3} {expires:<6} {state:<11} {client:<18} {virtual_server:<18}");
    if with_engine && !found.persistence_engine.is_empty() {
        let (engine, data) = (&found.persistence_engine, &found.persistence_data);
        format!("{ends} {destination:<16} {engine:<18} {data}\n")
    } else {
        format!("{ends} {destination}\n")
    }
}
