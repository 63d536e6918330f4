//! `minato up --etcd-port`: the region's store over etcd's API. Whoever has it has everything, so nobody is let in without the
//! certificate that lies in the home, which only its owner can read.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_auth::pki::{Authority, Purpose};
use serve::{Clients, Tls};
use store::Store;
use world::{Tasks, World};

use crate::home::{Home, write_private};

/// Names of the files, in the directory [`Home::etcd`].
pub const AUTHORITY: &str = "ca.crt";
pub const CERTIFICATE: &str = "client.crt";
pub const KEY: &str = "client.key";
const AUTHORITY_KEY: &str = "ca.key";

/// Common name of the authority, which signs for nothing else.
const NAME: &str = "minato-etcd";

/// Serves `store`, and says where.
///
/// # Errors
/// A port that is taken, and files that cannot be read or written.
pub fn serve(world: &World, home: &Home, store: &Store, address: SocketAddr, tasks: &Tasks) -> Result<String> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot serve etcd's API on {address}; pass another --etcd-port, or 0 for a free one")
    })?;
    let authority = authority(world, &home.etcd()).context("the certificates for etcd's API")?;
    let addresses = vec![address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let server = authority.issue(world, &Purpose::Server { names: vec!["localhost".to_owned()], addresses })?;
    let clients = Clients::MustBeKnown(vec![authority.certificate().clone()]);
    let tls = Tls { chain: vec![server.certificate.clone()], key: server.key.to_der(), clients };
    let mut options = etcd_face::Options::default();
    options.serve.tls = Some(tls);
    let server = etcd_face::start(store.clone(), listener, options, tasks)?;
    Ok(format!("https://{}", server.address()))
}

/// The authority that signed the client's certificate; both are made at the first time.
fn authority(world: &World, directory: &Path) -> Result<Authority> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let read = |name: &str| match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", directory.join(name).display())),
    };
    match (read(AUTHORITY_KEY)?, read(AUTHORITY)?) {
        (Some(key), Some(certificate)) => Ok(Authority::from_pem(NAME, &key, &certificate)?),
        (None, None) => {
            let authority = Authority::generate(world, NAME)?;
            let client = authority.issue(world, &Purpose::Client { user: "root".to_owned(), group: None })?;
            let write = |name: &str, text: String| write_private(&directory.join(name), text.as_bytes());
            write(CERTIFICATE, client.certificate_pem())?;
            write(KEY, client.key.to_pem())?;
            write(AUTHORITY, authority.certificate_pem())?;
            // The last, so that a start that was interrupted begins anew.
            write(AUTHORITY_KEY, authority.key_pem())?;
            Ok(authority)
        }
        _ => bail!("{} is not complete; remove it, and it is made anew", directory.display()),
    }
}
