//! The scenarios, one file each.

pub(crate) mod arp_proof;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod failover;
pub(crate) mod faults;
pub(crate) mod headless;
pub(crate) mod health_cost;
pub(crate) mod health_detect;
pub(crate) mod health_gray;
pub(crate) mod interop;
pub(crate) mod ipvs_diff;
pub(crate) mod ipvs_drain;
pub(crate) mod ipvs_drift;
pub(crate) mod ipvs_matrix;
pub(crate) mod ipvs_restarts;
pub(crate) mod ipvs_scale;
pub(crate) mod load;
pub(crate) mod pause;
pub(crate) mod planned;
pub(crate) mod raft;
pub(crate) mod restart;
pub(crate) mod seed;
pub(crate) mod side_by_side;
pub(crate) mod telemetry;
pub(crate) mod tomcat_crash;
pub(crate) mod virtual_mac;
