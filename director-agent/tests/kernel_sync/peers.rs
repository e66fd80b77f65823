//! The real server and the client.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The virtual server.
pub(crate) const VIRTUAL_SERVER: &str = "10.0.0.100:80";
/// Longest wait for an echo: a connection that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Echoes on the VIP, until it is killed.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(VIRTUAL_SERVER)?;
    say("listening")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let mut byte = [0];
            while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {}
        })?;
    }
    Ok(())
}

/// Holds `count` connections. The first half have sent something; the rest are silent since their beginning, and the
/// kernel tells of them least. For each line of input all are tried, and `alive N` is printed.
pub(crate) fn hold(count: &str) -> Result<(), Box<dyn Error>> {
    let count: usize = count.parse()?;
    let open = |_| {
        let stream = TcpStream::connect(VIRTUAL_SERVER)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let mut streams: Vec<TcpStream> = (0..count).map(open).collect::<io::Result<_>>()?;
    let alive = streams[..count / 2].iter_mut().filter_map(|stream| echo(stream).ok()).count();
    say(&format!("alive {alive}"))?;
    for line in io::stdin().lock().lines() {
        line?;
        let alive = streams.iter_mut().filter_map(|stream| echo(stream).ok()).count();
        say(&format!("alive {alive} of {count}"))?;
    }
    Ok(())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
