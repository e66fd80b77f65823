//! Real Tomcats, Debian's `tomcat10`, each with a base directory of its own and a page that tells which one it is.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::client::{self, page};
use crate::net::topology::{Node, PORT};
use crate::process::{Launch, Process};
use crate::say;

/// Where Debian keeps it.
pub(crate) const HOME: &str = "/usr/share/tomcat10";
/// Files in its base directory: what keeps it running, what restarts it, what that has done, and what forbids it.
const KEEPER: &str = "keeper";
const RESTART: &str = "restart";
const RESTARTS: &str = "restarts";
const REFUSAL: &str = "refuse-restarts";
/// Two of them start at once on one slow processor: 38 s were seen on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// A Tomcat on a node.
#[derive(Debug)]
pub(crate) struct Tomcat {
    /// Its host.
    pub(crate) node: Node,
    base: PathBuf,
    process: Option<Process>,
    /// It is started again whenever it ends, as by a service manager.
    is_kept: bool,
}

impl Tomcat {
    /// Writes its base directory under `dir`.
    pub(crate) fn install(node: Node, dir: &Path) -> Result<Self> {
        let base = dir.join(node.name).join("tomcat");
        let tomcat = Self { node, base, process: None, is_kept: false };
        tomcat.configure()?;
        Ok(tomcat)
    }

    /// Writes its base directory anew, for its next start.
    pub(crate) fn configure(&self) -> Result<()> {
        let Self { node, base, .. } = self;
        if base.exists() {
            fs::remove_dir_all(base)?;
        }
        for part in ["conf", "page/WEB-INF", "logs", "temp", "webapps", "work"] {
            fs::create_dir_all(base.join(part))?;
        }
        fs::write(base.join("conf/server.xml"), server_xml(base))?;
        fs::write(base.join("conf/web.xml"), web_xml("", "index.html"))?;
        fs::write(base.join("page/index.html"), page::text(node.name))?;
        script(&base.join(KEEPER), &keeper(base))?;
        script(&base.join(RESTART), &restart(base))?;
        Ok(())
    }

    /// Where its files are.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Its address and port.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.node.address, PORT)
    }

    /// From its next start on it is started again whenever it ends, or not.
    pub(crate) fn keep(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
    }

    /// How often its agent's command has restarted it.
    pub(crate) fn restarts(&self) -> usize {
        let text = fs::read_to_string(self.base.join(RESTARTS)).unwrap_or_default();
        text.lines().count()
    }

    /// Lets its agent's command fail, or not.
    pub(crate) fn refuse_restarts(&self, refuses: bool) -> Result<()> {
        let path = self.base.join(REFUSAL);
        let done = if refuses { fs::write(&path, "") } else { fs::remove_file(&path) };
        done.with_context(|| path.display().to_string())
    }

    /// Takes its configuration away, so that it does not come up again, or gives it back.
    pub(crate) fn break_configuration(&self, breaks: bool) -> Result<()> {
        let (here, away) = (self.base.join("conf/server.xml"), self.base.join("conf/server.away"));
        let (from, to) = if breaks { (here, away) } else { (away, here) };
        fs::rename(&from, &to).with_context(|| from.display().to_string())
    }

    /// Starts it, and does not wait.
    pub(crate) fn start(&mut self, logs: &Path) -> Result<()> {
        let base = self.base.to_string_lossy().into_owned();
        let args = [
            // One slow processor: little compiling, the simple collector, no file of counters outside.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Xms64m",
            "-Xmx128m",
            "-XX:+PerfDisableSharedMem",
            "-Djava.security.egd=file:/dev/urandom",
            "-Djava.net.preferIPv4Stack=true",
            &format!("-Dcatalina.home={HOME}"),
            &format!("-Dcatalina.base={base}"),
            &format!("-Djava.io.tmpdir={base}/temp"),
            "-cp",
            &format!("{HOME}/bin/bootstrap.jar:{HOME}/bin/tomcat-juli.jar"),
            "org.apache.catalina.startup.Bootstrap",
            "start",
        ]
        .map(str::to_owned)
        .to_vec();
        let program = if self.is_kept { self.base.join(KEEPER) } else { "java".into() };
        let launch = Launch {
            node: Some(self.node.name),
            label: "tomcat".to_owned(),
            program,
            args,
            env: Vec::new(),
        };
        self.process = Some(Process::start(logs, launch)?);
        Ok(())
    }

    /// Waits until it serves its page at its own address; answers with the moment at which it was seen to.
    pub(crate) fn wait_ready(&mut self) -> Result<Instant> {
        let process = self.process.as_mut().context("this Tomcat was not started")?;
        let target = SocketAddrV4::new(self.node.address, PORT);
        let name = self.node.name;
        crate::process::wait_until(&format!("Tomcat on {name} serves"), START_TIMEOUT, || {
            if !process.is_running() {
                anyhow::bail!("Tomcat on {name} ended:\n{}", process.tail(20));
            }
            let answer = client::get_once(name, target, "/");
            Ok(answer.is_ok_and(|text| text.contains(name)).then(Instant::now))
        })
    }

    /// kill -9; answers with the moment before.
    pub(crate) fn kill(&mut self) -> Result<Instant> {
        let process = self.process.take().context("this Tomcat does not run")?;
        let at = Instant::now();
        say!("kill -9 of Tomcat on {} (pid {})", self.node.name, process.pid());
        process.kill()?;
        Ok(at)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("this Tomcat does not run")?.signal(signal)
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }
}

/// The command that a Tomcat's agent is configured with.
pub(crate) fn restart_command(node: Node, dir: &Path) -> PathBuf {
    dir.join(node.name).join("tomcat").join(RESTART)
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Keeps it running, as a service manager does.
fn keeper(base: &Path) -> String {
    format!(
        r#"#!/bin/sh
# Starts Tomcat again whenever it ends.
base={}
while :; do
  java "$@" &
  echo $! > "$base/pid.new" && mv "$base/pid.new" "$base/pid"
  wait $!
  sleep 0.2
done
"#,
        base.display()
    )
}

/// Restarts it, as a service manager's client does.
fn restart(base: &Path) -> String {
    format!(
        r#"#!/bin/sh
# Ends Tomcat, in order, and waits until its keeper has started the next one.
base={}
if [ -e "$base/{REFUSAL}" ]; then
  echo "refused by the lab: $FULCRUM_REAL_SERVER" >&2
  exit 1
fi
echo "$FULCRUM_ORDER" >> "$base/{RESTARTS}"
old=$(cat "$base/pid") || exit 1
kill -TERM "$old" 2>/dev/null
tries=0
while [ "$(cat "$base/pid")" = "$old" ]; do
  tries=$((tries + 1))
  if [ $tries -gt 600 ]; then
    echo "process $old does not end" >&2
    exit 1
  fi
  sleep 0.1
done
"#,
        base.display()
    )
}

fn server_xml(base: &Path) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1">
  <Service name="Catalina" gracefulStopAwaitMillis="10000">
    <Connector port="{PORT}" protocol="HTTP/1.1" connectionTimeout="20000"
               maxThreads="50" minSpareThreads="5" bindOnInit="false"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Valve className="org.apache.catalina.valves.HealthCheckValve" path="/healthz"/>
      <Host name="localhost" appBase="webapps" autoDeploy="false" unpackWARs="false">
        <Context path="" docBase="{}/page" containerSciFilter="jasper|websocket">
          <JarScanner scanClassPath="false"/>
        </Context>
      </Host>
    </Engine>
  </Service>
</Server>
"#,
        base.display()
    )
}

/// Its descriptor: the page needs no more than the servlet that serves files, and starts faster without the rest. `servlets` are
/// more of them, and `welcome` is the page.
pub(super) fn web_xml(servlets: &str, welcome: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0" metadata-complete="true">
  <absolute-ordering/>
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet-mapping>
    <servlet-name>default</servlet-name>
    <url-pattern>/</url-pattern>
  </servlet-mapping>
{servlets}  <welcome-file-list>
    <welcome-file>{welcome}</welcome-file>
  </welcome-file-list>
</web-app>
"#
    )
}
