//! How a server on this host is judged: its process, its port, its page, its load.
//!
//! [`verdict`] decides; [`watcher`] drives it with what [`process`], [`probe`] and [`status_page`] see. Written with Tomcat in
//! mind, and right for any server that listens on TCP.

pub mod findings;
pub mod hsperf;
pub mod installation;
pub mod jvm;
pub mod probe;
pub mod process;
pub mod root;
pub mod server_xml;
pub mod sockets;
pub mod status_page;
pub mod verdict;
pub mod watcher;
