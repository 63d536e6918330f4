//! Serves one cluster without controllers or nodes, and writes a kubeconfig for its administrator.
//!
//! `cargo run -p apiserver --example one_cluster -- <port> <kubeconfig>`

use std::sync::Arc;

use apiserver::{ApiServer, Options};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::pki::{Authority, Purpose};
use store::Store;
use world::World;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(6443);
    let path = arguments.next().unwrap_or_else(|| "kubeconfig".to_owned());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(port, &path));
}

async fn run(port: u16, path: &str) {
    let world = World::real();
    let tasks = world.tasks("cluster");
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let ca = Authority::generate(&world, "kubernetes").expect("a CA");
    let server = ca
        .issue(&world, &Purpose::Server { names: vec!["localhost".into()], addresses: vec![[127, 0, 0, 1].into()] })
        .expect("a server certificate");
    let admin = ca
        .issue(&world, &Purpose::Client { user: "admin".into(), group: Some("system:masters".into()) })
        .expect("a client certificate");
    let store = Store::memory(&world, store::Limits::default());
    let began = world.elapsed();
    let mut options = Options::alone(&world, store.keyspace("cluster/"));
    options.authentication.client_authorities = vec![ca.certificate().clone()];
    let api = ApiServer::start(options, &tasks).await.expect("an API server");
    println!("started in {:?}", world.elapsed() - began);
    let tls = serve::Tls {
        chain: vec![server.certificate.clone()],
        key: server.key.to_der(),
        clients: serve::Clients::MayShow(vec![ca.certificate().clone()]),
    };
    let options = serve::Options { tls: Some(tls), ..serve::Options::default() };
    let handler: Arc<dyn serve::Handler> = api.handler();
    let served = serve::start(listener, handler, options, &tasks).expect("a server");
    let (ca, certificate, key) = (
        STANDARD.encode(ca.certificate_pem()),
        STANDARD.encode(admin.certificate_pem()),
        STANDARD.encode(admin.key.to_pem()),
    );
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters:\n- name: one\n  cluster: {{server: 'https://{}', certificate-authority-data: {ca}}}\ncontexts:\n- name: one\n  context: {{cluster: one, user: admin}}\nusers:\n- name: admin\n  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}\n",
        served.address()
    );
    std::fs::write(path, config).expect("a kubeconfig");
    println!("serving https://{}; KUBECONFIG={path}", served.address());
    std::future::pending::<()>().await;
}
