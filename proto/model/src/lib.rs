//! The nouns of Fulcrum and their small laws.
//!
//! What it does: gives types that are valid by construction (a [`Vrid`] is 1 to 255, a [`Name`] is well-formed) and the
//! one function that turns evidence into a weight ([`fuse`]). What it never does: import another crate of ours, read a
//! clock, touch a file or a socket. Start reading at [`resource`], then [`plan`], then [`fuse`].

pub mod access;
pub mod address;
pub mod check;
pub mod dynamic_weights;
pub mod evidence;
pub mod fuse;
pub mod ipvs;
pub mod ipvs_settings;
pub mod local_order;
pub mod name;
pub mod notification;
pub mod number;
pub mod path;
pub mod plan;
pub mod resource;
pub mod restart;
pub mod shared;
pub mod vrrp;

pub use address::{Cidr, CidrError};
pub use check::{
    BodyDigest, Check, CommandCheck, DnsCheck, DnsRecord, FileCheck, GrpcCheck, HttpCheck,
    HttpPage, ProbeKind, RedisCheck, ServerProbe, SmtpCheck, StatusPage, ThroughVip, TlsCheck,
    UdpCheck,
};
pub use dynamic_weights::DynamicWeights;
pub use evidence::{Evidence, EvidenceStamp, ServerEvidence, ServerLoad, Verdict, VipEvidence};
pub use ipvs::{
    FailurePolicy, ForwardingMethod, Listen, PersistenceEngine, PersistenceMask, Protocol, Quorum,
    Scheduler, Thresholds, Tunnel, TunnelChecksum, VirtualServerOptions,
};
pub use ipvs_settings::{ConnReuseMode, IpvsSettings, SyncThreshold};
pub use local_order::{LocalOrder, LocalOrders, LocalRefusal, LocalRelease, LocalWish, Moment};
pub use name::{Name, NameError};
pub use notification::{
    CommandChannel, EventKind, EventSeverity, NotificationPolicy, SmtpChannel, SmtpTls,
    WebhookChannel,
};
pub use number::{Port, Priority, RangeError, Revision, Vrid, Weight};
pub use plan::PlanVersion;
pub use restart::{RestartEvidence, RestartPlan, RestartState};
pub use shared::Shared;
pub use vrrp::VrrpOptions;
