//! How a server on this host is judged: its process, its port, its page, its load.
//!
//! [`verdict`] decides; [`watcher`] drives it with what [`process`], [`probe`] and [`load`] see, the last with the help of
//! [`status_page`], [`hsperf`] and [`jmx`]. [`findings`] judges a Tomcat's own files. Written with Tomcat in mind, and right for any
//! server that listens on TCP.

pub mod findings;
pub mod hsperf;
pub mod installation;
pub mod jmx;
pub mod jvm;
pub mod load;
pub mod probe;
pub mod process;
pub mod root;
pub mod server_xml;
pub mod sockets;
pub mod status_page;
pub mod verdict;
pub mod watcher;
