//! How fast the kernel takes additions to its IPVS table when nobody does more than send them: the measure of the director's
//! own speed.
//!
//! `ipvs_raw_loop --virtual-servers 10000 --real-servers 10 --batch 400` as root, in a network namespace with an empty table
//! and `lo` up, sends so many requests at once, asks for no answer, keeps no table and reads nothing back. `--vips 100` puts
//! virtual servers at the ports of so many VIPs. Where those begin matters: the kernel looks through one of 256 lists at each
//! addition, which addresses and ports choose. It prints one JSON line, and fails where the kernel refused anything.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use fulcrum_ipvs::codec::{self, Acknowledge, FAMILY_NAME};
use fulcrum_ipvs::{
    AddressFamily, DestinationKey, DestinationSettings, Forwarding, Operation, VirtualServerKey,
    VirtualServerSettings,
};
use fulcrum_model::Scheduler;
use neli::consts::socket::{Msg, NlFamily};
use neli::router::asynchronous::NlRouter;
use neli::socket::NlSocket;
use neli::utils::Groups;

#[derive(Debug, Parser)]
struct Arguments {
    /// Virtual servers to add.
    #[arg(long, default_value_t = 10_000)]
    virtual_servers: u32,
    /// VIPs that they share; each has one of its own when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    vips: Option<u32>,
    /// The first VIP.
    #[arg(long, default_value = "10.9.0.0")]
    first_vip: Ipv4Addr,
    /// The first port of each VIP.
    #[arg(long, default_value_t = 80)]
    first_port: u16,
    /// The first real server.
    #[arg(long, default_value = "10.8.0.1")]
    first_rip: Ipv4Addr,
    /// The port of all real servers.
    #[arg(long, default_value_t = 80)]
    real_port: u16,
    /// How packets would reach the real servers.
    #[arg(long, default_value = "dr")]
    forwarding: Method,
    /// Real servers of each.
    #[arg(long, default_value_t = 10)]
    real_servers: u32,
    /// Requests in one send.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Method {
    Dr,
    Nat,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok((requests, took)) => {
            println!("{{\"requests\":{requests},\"took_ms\":{:.3}}}", took.as_secs_f64() * 1000.0);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ipvs_raw_loop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(u32, Duration)> {
    let family = family()?;
    let socket = NlSocket::connect(NlFamily::Generic, None, Groups::empty())?;
    socket.nonblock()?;
    let began = Instant::now();
    let (mut requests, mut buffer) = (0, Vec::new());
    for operation in operations(arguments) {
        requests += 1;
        codec::request(&mut buffer, (family, requests), &operation, Acknowledge::No);
        if requests % arguments.batch == 0 {
            send(&socket, &mut buffer)?;
        }
    }
    send(&socket, &mut buffer)?;
    let took = began.elapsed();
    // The kernel answers what it refuses, asked or not.
    match socket.recv(&mut [0_u8; 4096][..], Msg::empty()) {
        Ok(_) => bail!("the kernel refused an addition: is the table empty, and lo up?"),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok((requests, took)),
        Err(error) => Err(error).context("cannot look for refusals"),
    }
}

/// Each virtual server, then its real servers: the same for all, with round robin.
fn operations(arguments: &Arguments) -> impl Iterator<Item = Operation> {
    let settings = VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4);
    let real_servers = arguments.real_servers;
    let forwarding = match arguments.forwarding {
        Method::Dr => Forwarding::Route,
        Method::Nat => Forwarding::Masq,
    };
    let (first_vip, first_rip) = (arguments.first_vip.to_bits(), arguments.first_rip.to_bits());
    let (first_port, real_port) = (arguments.first_port, arguments.real_port);
    let ports = arguments.vips.map_or(1, |vips| arguments.virtual_servers.div_ceil(vips).max(1));
    (0..arguments.virtual_servers).flat_map(move |index| {
        let vip = Ipv4Addr::from(first_vip.wrapping_add(index / ports));
        let port = first_port.saturating_add(u16::try_from(index % ports).unwrap_or(u16::MAX));
        let virtual_server = VirtualServerKey::tcp(vip.into(), port);
        let added = Operation::AddVirtualServer { key: virtual_server, settings: settings.clone() };
        let destinations = (0..real_servers).map(move |number| Operation::AddDestination {
            virtual_server,
            key: DestinationKey {
                address: Ipv4Addr::from(first_rip.wrapping_add(number)).into(),
                port: real_port,
            },
            settings: DestinationSettings::new(1, forwarding),
        });
        std::iter::once(added).chain(destinations)
    })
}

/// The kernel works through the requests within this call.
fn send(socket: &NlSocket, buffer: &mut Vec<u8>) -> Result<()> {
    if !buffer.is_empty() {
        socket.send(&*buffer, Msg::empty()).context("cannot send")?;
        buffer.clear();
    }
    Ok(())
}

fn family() -> Result<u16> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty()).await?;
        let family = router.resolve_genl_family(FAMILY_NAME).await;
        family.context("the kernel has no IPVS: load it with modprobe ip_vs")
    })
}
