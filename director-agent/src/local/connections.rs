//! The kernel's connection table, told page by page while it is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fulcrum_ipvs::sync::Line;
use fulcrum_proto::v1;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Connections of a page: some 100 KiB.
const PAGE: usize = 1_000;
/// Pages read before they are asked for: the next is ready, and a reader that stops stops us.
const PAGES_AHEAD: usize = 2;
/// Listings at once: the kernel walks its table for each, beside the packets.
const MOST_LISTINGS: u32 = 2;

type Page = Result<v1::ListIpvsConnectionsResponse, Status>;

/// Tells the table to whoever asks.
pub(super) struct Listings {
    path: PathBuf,
    free: Arc<Semaphore>,
}

impl Listings {
    /// Of the listing at this path.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), free: Arc::new(Semaphore::new(MOST_LISTINGS as usize)) }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// Too many read already.
    pub(super) fn start(&self) -> Result<ReceiverStream<Page>, Status> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{MOST_LISTINGS} listings of connections run already; ask again when one has ended"
            ))
        })?;
        let (pages, receiver) = mpsc::channel(PAGES_AHEAD);
        let path = self.path.clone();
        // The kernel's answers block, for milliseconds where there are many connections.
        tokio::task::spawn_blocking(move || {
            let told = File::open(&path).and_then(|file| tell(BufReader::new(file), &pages));
            if let Err(error) = told {
                // Whoever asked may be gone.
                let _ = pages.blocking_send(Err(Status::internal(format!(
                    "cannot read {}: {error}; is the kernel's module ip_vs loaded?",
                    path.display()
                ))));
            }
            drop(permit);
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends pages until the listing ends or nobody listens any more.
fn tell(listing: impl BufRead, pages: &mpsc::Sender<Page>) -> io::Result<()> {
    let mut connections = Vec::with_capacity(PAGE);
    for line in listing.lines() {
        connections.extend(Line::read(&line?).map(|line| to_wire(&line)));
        if connections.len() == PAGE {
            let page = std::mem::replace(&mut connections, Vec::with_capacity(PAGE));
            if send(pages, page).is_err() {
                return Ok(());
            }
        }
    }
    if !connections.is_empty() {
        // Whoever asked may be gone.
        let _ = send(pages, connections);
    }
    Ok(())
}

fn send(
    pages: &mpsc::Sender<Page>,
    connections: Vec<v1::IpvsConnection>,
) -> Result<(), mpsc::error::SendError<Page>> {
    pages.blocking_send(Ok(v1::ListIpvsConnectionsResponse { connections }))
}

fn to_wire(line: &Line<'_>) -> v1::IpvsConnection {
    let (engine, data) = line.engine.unwrap_or_default();
    v1::IpvsConnection {
        protocol: line.protocol.to_owned(),
        client: line.client.ip().to_string(),
        client_port: line.client.port().into(),
        vip: line.virtual_server.ip().to_string(),
        port: line.virtual_server.port().into(),
        destination: line.destination.ip().to_string(),
        destination_port: line.destination.port().into(),
        state: line.state.to_owned(),
        expires_s: line.expires_s,
        persistence_engine: engine.to_owned(),
        persistence_data: data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use fulcrum_proto::ipvsadm;
    use tokio_stream::StreamExt;

    use super::*;

    /// `/proc/net/ip_vs_conn` of Linux 6.1, and the same as ipvsadm 1.31 prints it.
    const LISTING: &str = include_str!("captures/ip_vs_conn.txt");
    const PRINTED: &str = include_str!("captures/ipvsadm.txt");

    /// What is told of a listing, page by page.
    async fn told(listing: &str) -> Vec<Page> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("ip_vs_conn");
        std::fs::write(&path, listing).expect("written");
        Listings::new(&path).start().expect("a free place").collect().await
    }

    #[tokio::test]
    async fn every_connection_is_told_as_ipvsadm_prints_it() {
        let mut printed = ipvsadm::connections_title(true);
        for page in told(LISTING).await {
            for connection in page.expect("a page").connections {
                printed += &ipvsadm::connection_line(true, &connection);
            }
        }
        assert_eq!(printed, PRINTED);
    }

    /// So many connections, behind lines that are not understood.
    fn many(count: u16) -> String {
        let mut listing = "Pro FromIP FPrt\nodd\nTCP 0A000102\n".to_owned();
        for port in 0..count {
            // Writing to a String cannot fail.
            let _ = writeln!(
                listing,
                "TCP 0A000102 {port:04X} 0A000101 0050 0A000002 1F90 ESTABLISHED 899"
            );
        }
        listing
    }

    #[tokio::test]
    async fn pages_are_bounded_and_lines_that_are_not_understood_left_out() {
        let pages = told(&many(2_500)).await.into_iter();
        let sizes: Vec<usize> = pages.map(|page| page.expect("a page").connections.len()).collect();
        assert_eq!(sizes, [1_000, 1_000, 500]);
        assert!(told("Pro FromIP FPrt\n").await.is_empty());
    }

    #[tokio::test]
    async fn a_listing_that_is_not_read_holds_its_place_until_it_is_given_up() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), many(10_000)).expect("written");
        let listings = Listings::new(file.path());
        let running =
            [(); MOST_LISTINGS as usize].map(|()| listings.start().expect("a free place"));
        let refused = listings.start().expect_err("none is free");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(running);
        let freed = listings.free.acquire_many(MOST_LISTINGS).await;
        drop(freed.expect("never closed"));
        assert!(listings.start().is_ok());
    }

    #[tokio::test]
    async fn without_ip_vs_the_remedy_is_told() {
        let stream = Listings::new(Path::new("/nowhere/ip_vs_conn")).start();
        let pages: Vec<Page> = stream.expect("a free place").collect().await;
        let [Err(status)] = pages.as_slice() else { panic!("one failure: {pages:?}") };
        let expected = "cannot read /nowhere/ip_vs_conn: No such file or directory (os error 2); \
                        is the kernel's module ip_vs loaded?";
        assert_eq!(status.message(), expected);
    }
}
