//! A Tomcat whose page takes a while, with so many threads and a status page that tells how many are busy.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::tomcat::{Tomcat, web_xml};
use crate::net::topology::PORT;

/// Where Debian keeps the manager, of which the status page is a part (`tomcat10-admin`).
const MANAGER: &str = "/usr/share/tomcat10-admin/manager";
/// What compiles JSP pages, which Debian keeps beside Tomcat's own libraries.
const COMPILER: &str = "/usr/share/java/eclipse-jdt-core.jar";
/// Port of the connector for the status page: it has threads of its own.
const STATUS_PORT: u16 = 8081;
/// Who may read it.
const USER: &str = "fulcrum";
pub(crate) const PASSWORD: &str = "lab";
/// A page that occupies a thread for long.
pub(crate) const SLOW_PATH: &str = "/slow.jsp";

/// How busy it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Threads of the connector.
    pub(crate) threads: u32,
    /// Time that the page takes.
    pub(crate) page_ms: u32,
    /// Time that the page at [`SLOW_PATH`] takes.
    pub(crate) slow_ms: u32,
}

/// Gives a Tomcat that does not run this shape, for its next start. [`Tomcat::configure`] takes it back.
pub(crate) fn configure(tomcat: &Tomcat, shape: Shape) -> Result<()> {
    tomcat.configure()?;
    let base = tomcat.base();
    fs::remove_file(base.join("page/index.html"))?;
    fs::write(base.join("conf/server.xml"), server_xml(base, shape.threads))?;
    fs::write(base.join("conf/web.xml"), web_xml(JSP, "index.jsp"))?;
    fs::write(
        base.join("conf/catalina.properties"),
        format!("common.loader=\"${{catalina.home}}/lib/*.jar\",\"{COMPILER}\"\n"),
    )?;
    fs::write(
        base.join("conf/tomcat-users.xml"),
        format!(
            "<tomcat-users><user username=\"{USER}\" password=\"{PASSWORD}\" roles=\"manager-status\"/></tomcat-users>\n"
        ),
    )?;
    let name = tomcat.node.name;
    fs::write(base.join("page/index.jsp"), page(name, shape.page_ms))?;
    fs::write(
        base.join("page").join(SLOW_PATH.trim_start_matches('/')),
        page(name, shape.slow_ms),
    )?;
    Ok(())
}

/// The agent's `probe` in a manifest, with the password in that file.
pub(crate) fn probe(password_file: &Path) -> String {
    format!(
        "{{status_url: \"http://127.0.0.1:{STATUS_PORT}/manager/status/all?JSON=true\", status_user: {USER}, \
         status_password_file: {}}}",
        password_file.display()
    )
}

fn page(name: &str, ms: u32) -> String {
    let text = crate::client::page::text(name);
    format!("<%@ page session=\"false\" %><% Thread.sleep({ms}); %>{text}")
}

fn server_xml(base: &Path, threads: u32) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1">
  <Service name="Catalina">
    <Connector port="{PORT}" protocol="HTTP/1.1" connectionTimeout="20000"
               maxThreads="{threads}" minSpareThreads="4"/>
    <Connector port="{STATUS_PORT}" address="127.0.0.1" protocol="HTTP/1.1"
               maxThreads="4" minSpareThreads="1"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Realm className="org.apache.catalina.realm.MemoryRealm" pathname="conf/tomcat-users.xml"/>
      <Host name="localhost" appBase="webapps" autoDeploy="false" unpackWARs="false">
        <Context path="" docBase="{}/page" containerSciFilter="websocket">
          <JarScanner scanClassPath="false"/>
        </Context>
        <Context path="/manager" docBase="{MANAGER}" privileged="true"
                 containerSciFilter="jasper|websocket">
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

/// What serves JSP pages, compiled once.
const JSP: &str = "\
  <servlet>
    <servlet-name>jsp</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
    <init-param>
      <param-name>development</param-name>
      <param-value>false</param-value>
    </init-param>
    <load-on-startup>3</load-on-startup>
  </servlet>
  <servlet-mapping>
    <servlet-name>jsp</servlet-name>
    <url-pattern>*.jsp</url-pattern>
  </servlet-mapping>
";
