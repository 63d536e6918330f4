//! Where a request is passed on to, and how a connection there is opened.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use k8s_object::UserInfo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::core::Core;
use crate::webhook::{ClientIdentity, Connection, Trust, client_config, dial_error, tls_error};

/// How long a backend may take to accept a connection (upstream's dialer: 30 s).
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A place below a server.
pub(crate) struct Location {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// The name that its certificate is for.
    pub server_name: String,
    /// With a leading slash, or empty.
    pub path: String,
    pub query: String,
    pub trust: Trust,
    /// Who the API server is there.
    pub identity: Option<ClientIdentity>,
    /// Nobody is there ([`Kubelets::simulated`](super::Kubelets)).
    pub simulated: bool,
    /// Who sends the request, if the server there is told.
    pub on_behalf_of: Option<Arc<UserInfo>>,
}

impl Location {
    /// A server of plain HTTP or of HTTPS whose certificate says nothing: addresses of pods are in no certificates.
    pub(crate) fn of_backend(https: bool, host: String, port: u16) -> Location {
        let (path, query) = (String::new(), String::new());
        let server_name = host.clone();
        Location {
            https,
            host,
            port,
            server_name,
            path,
            query,
            trust: Trust::Anybody,
            identity: None,
            simulated: false,
            on_behalf_of: None,
        }
    }

    /// The place below this one that a client names.
    pub(crate) fn below(mut self, path: &str, query: Option<&str>) -> Location {
        self.path.push_str(path);
        self.query = query.unwrap_or("").to_owned();
        self
    }

    /// Host and port as URLs have them.
    pub(super) fn authority(&self) -> String {
        let Location { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Path and query.
    pub(super) fn target(&self) -> Result<Uri, String> {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let text = if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) };
        text.parse().map_err(|error| format!("{text:?} is no path: {error}"))
    }

    /// A connection on which HTTP is spoken.
    ///
    /// # Errors
    /// Why there is none, in Go's words.
    pub(super) async fn connect(&mut self, core: &Core) -> Result<Box<dyn Connection>, String> {
        let dialer = core.dialer.clone().ok_or("this API server opens no connections")?;
        let (host, port) = (self.host.clone(), self.port);
        let name = ServerName::try_from(self.server_name.clone()).map_err(|error| error.to_string())?;
        let (authority, identity) = (self.authority(), self.identity.take());
        let open = async {
            let socket = dialer.dial(&host, port).await.map_err(|error| dial_error(&host, port, &error))?;
            if !self.https {
                return Ok(socket);
            }
            let roots = if self.trust == Trust::System { dialer.roots() } else { Vec::new() };
            let tls = client_config(&core.world, &self.trust, &roots, identity)?;
            let stream = TlsConnector::from(tls).connect(name, socket).await;
            stream.map(|stream| Box::new(stream) as Box<dyn Connection>).map_err(|error| tls_error(&error))
        };
        let timed_out = |_| Err(format!("dial tcp {authority}: i/o timeout"));
        core.world.timeout(DIAL_TIMEOUT, open).await.unwrap_or_else(timed_out)
    }
}
