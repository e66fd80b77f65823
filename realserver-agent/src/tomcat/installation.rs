//! A Tomcat's own files, found by the process: what it was started with, its connectors, whether its manager is open.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::root::{ProcessRoot, read_bounded};
use super::server_xml::{self, Properties, ServerXml};

/// Most bytes of a command line: the kernel's own bound for one argument.
const MAX_COMMAND: u64 = 128 << 10;
/// Most bytes of a configuration file; Debian's largest has 8 KiB.
const MAX_FILE: u64 = 1 << 20;
/// Most processes that are looked at.
const MAX_PROCESSES: usize = 65_536;

/// A Tomcat, as its files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its process.
    pub pid: u32,
    /// `CATALINA_BASE`, as the process sees it.
    pub base: PathBuf,
    /// Its server.xml.
    pub server: ServerXml,
    /// The manager that any client may reach: the file or directory that says so. None where there is none, or it is guarded.
    pub open_manager: Option<PathBuf>,
}

/// Reads the files of a process. None where it is no Tomcat.
///
/// # Errors
/// Its files cannot be read, or server.xml cannot be understood.
pub fn read(pid: u32) -> io::Result<Option<Installation>> {
    let command = read_bounded(File::open(format!("/proc/{pid}/cmdline"))?, MAX_COMMAND)?;
    let mut properties = command_properties(&command);
    let Some(base) = base(&properties) else { return Ok(None) };
    let root = ProcessRoot::of(pid)?;
    let text = |path: &Path| -> io::Result<String> {
        Ok(String::from_utf8_lossy(&root.read(path, MAX_FILE)?).into_owned())
    };
    if let Ok(text) = text(&base.join("conf/catalina.properties")) {
        server_xml::read_properties(&text, &mut properties);
    }
    let path = base.join("conf/server.xml");
    let server = server_xml::parse(&text(&path)?, &properties).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })?;
    let open_manager = open_manager(&root, &base, &server);
    Ok(Some(Installation { pid, base, server, open_manager }))
}

/// Every Tomcat of this host, by its command line.
///
/// # Errors
/// `/proc` cannot be read.
pub fn all() -> io::Result<Vec<Installation>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.take(MAX_PROCESSES).flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile, or that we may not look at, is none to us.
        found.extend(read(pid).ok().flatten());
    }
    Ok(found)
}

/// `-Dname=value` of a command line.
fn command_properties(command: &[u8]) -> Properties {
    let arguments = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let pairs = arguments.filter_map(|argument| {
        let (name, value) = argument.strip_prefix("-D")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn base(properties: &Properties) -> Option<PathBuf> {
    let base = properties.get("catalina.base").or_else(|| properties.get("catalina.home"))?;
    Some(PathBuf::from(base)).filter(|base| base.is_absolute())
}

/// The first manager that no valve guards. A descriptor of conf/ENGINE/HOST goes before the application's own
/// META-INF/context.xml, and conf/context.xml holds for every application.
fn open_manager(root: &ProcessRoot, base: &Path, server: &ServerXml) -> Option<PathBuf> {
    let is_guarded = |path: &Path| -> Option<bool> {
        let bytes = root.read(path, MAX_FILE).ok()?;
        server_xml::is_guarded(&String::from_utf8_lossy(&bytes)).ok()
    };
    if is_guarded(&base.join("conf/context.xml")) == Some(true) {
        return None;
    }
    server.hosts.iter().filter(|host| !host.is_guarded).find_map(|host| {
        let descriptor = base.join("conf").join(&host.engine).join(&host.name).join("manager.xml");
        match is_guarded(&descriptor) {
            Some(true) => return None,
            Some(false) => return Some(descriptor),
            None => {}
        }
        let application = base.join(host.app_base.as_ref()?).join("manager");
        let own = application.join("META-INF/context.xml");
        match is_guarded(&own) {
            Some(true) => None,
            Some(false) => Some(own),
            None => root.has_directory(&application).then_some(application),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_the_base() {
        let command = b"java\0-Xmx1g\0-Dcatalina.home=/usr/share/tomcat10\0-Dcatalina.base=/var/lib/tomcat10\0-Da=b=c\0-Dx\0start\0";
        let known = command_properties(command);
        assert_eq!(known.get("a").map(String::as_str), Some("b=c"));
        assert_eq!(base(&known).as_deref(), Some(Path::new("/var/lib/tomcat10")));
        let home = command_properties(b"java\0-Dcatalina.home=/opt/tomcat\0");
        assert_eq!(base(&home).as_deref(), Some(Path::new("/opt/tomcat")));
        assert_eq!(base(&command_properties(b"java\0-Dcatalina.base=here\0")), None);
        assert_eq!(base(&command_properties(b"cat\0-\0")), None);
    }

    #[test]
    fn we_are_no_tomcat() {
        assert_eq!(read(std::process::id()).unwrap(), None);
    }

    #[test]
    fn an_open_manager_is_found_where_tomcat_looks() {
        const VALVE: &str = "<Context><Valve className=\"x.RemoteCIDRValve\"/></Context>";
        let root = ProcessRoot::of(std::process::id()).unwrap();
        let xml = "<Server><Service><Engine name='C'><Host name='h'/></Engine></Service></Server>";
        let server = server_xml::parse(xml, &Properties::new()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        let found = || {
            let path = open_manager(&root, base, &server)?;
            Some(path.strip_prefix(base).unwrap().display().to_string())
        };
        let write = |path: &str, text: &str| {
            let path = base.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(found(), None, "no manager");
        std::fs::create_dir_all(base.join("webapps/manager")).unwrap();
        assert_eq!(found().as_deref(), Some("webapps/manager"));
        write("webapps/manager/META-INF/context.xml", "<Context/>");
        assert_eq!(found().as_deref(), Some("webapps/manager/META-INF/context.xml"));
        write("webapps/manager/META-INF/context.xml", VALVE);
        assert_eq!(found(), None, "upstream's");
        write("conf/C/h/manager.xml", "<Context/>");
        assert_eq!(found().as_deref(), Some("conf/C/h/manager.xml"), "Debian's");
        write("conf/context.xml", VALVE);
        assert_eq!(found(), None, "guarded for every application");
    }
}
