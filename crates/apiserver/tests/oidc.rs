//! OpenID Connect over real sockets: an issuer with an authority of its own, which a configuration names.

mod support;

use std::sync::Arc;

use apiserver::{Options, Sockets, authentication_from};
use http::{Request, Response};
use k8s_auth::pki::{Authority, Purpose};
use k8s_auth::{Issuer, ObjectRef, PrivateKey, TokenRequest};
use serde_json::{Value, json};
use serve::{Body, Handler, Peer};
use support::tls::Served;
use world::{BoxFuture, World};

/// What an issuer publishes.
struct Published {
    url: String,
    keys: Value,
}

impl Handler for Published {
    fn handle(&self, _: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let document = match request.uri().path() {
            "/realm/.well-known/openid-configuration" => {
                Some(json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)}))
            }
            "/realm/keys" => Some(self.keys.clone()),
            _ => None,
        };
        Box::pin(async move {
            match document {
                Some(document) => Response::new(serve::full(document.to_string())),
                None => Response::builder().status(404).body(serve::empty()).unwrap(),
            }
        })
    }
}

/// An issuer on a socket of its own; returns who signs its tokens, and the PEM of its authority.
fn start(world: &World) -> (Issuer, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/realm", listener.local_addr().unwrap().port());
    let issuer = Issuer::new(PrivateKey::generate(world), &url, &["app"]);
    let ca = Authority::generate(world, "issuer").unwrap();
    let server = ca.issue(world, &Purpose::Server { names: vec!["localhost".into()], addresses: vec![] }).unwrap();
    let tls = serve::Tls {
        chain: vec![server.certificate.clone()],
        key: server.key.to_der(),
        clients: serve::Clients::Anyone,
    };
    let options = serve::Options { tls: Some(tls), limits: serve::Limits::default() };
    let handler = Arc::new(Published { url, keys: issuer.jwks() });
    serve::start(listener, handler, options, &world.tasks("issuer")).unwrap();
    (issuer, ca.certificate_pem())
}

fn token(world: &World, issuer: &Issuer) -> String {
    let request = TokenRequest {
        namespace: "ns".into(),
        service_account: ObjectRef { name: "sa".into(), uid: "u".into() },
        audiences: vec!["app".to_owned()],
        seconds: 600,
        bound: None,
        warn_after_seconds: None,
    };
    issuer.issue(world, &request).token
}

#[test]
fn an_issuer_is_trusted_by_the_authority_that_the_configuration_names() {
    for names_authority in [true, false] {
        let mut issued = String::new();
        let configure = |options: &mut Options| {
            let (issuer, authority) = start(&options.world);
            issued = token(&options.world, &issuer);
            let mut own = json!({"url": issuer.url(), "audiences": ["app"]});
            if names_authority {
                own["certificateAuthority"] = json!(authority);
            }
            let config = json!({
                "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
                "jwt": [{"issuer": own, "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}}}],
            });
            let (jwt, _) = authentication_from(&config.to_string(), options.issuer.url()).unwrap();
            options.authentication.jwt = jwt;
            options.dialer = Some(Arc::new(Sockets));
        };
        let served = Served::start_with(configure);
        let review = r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#;
        let line = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
        let header = format!("authorization: Bearer {issued}");
        for _ in 0..2 {
            let (status, _, body) = served.call(None, line, &[&header], review);
            if !names_authority {
                assert_eq!(status, 401, "nobody vouches for the issuer: {body}");
                continue;
            }
            assert_eq!(status, 201, "{body}");
            let told: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(told["status"]["userInfo"]["username"], "oidc:system:serviceaccount:ns:sa");
        }
        let cut = format!("authorization: Bearer {}", &issued[..issued.len() - 4]);
        assert_eq!(served.call(None, line, &[&cut], review).0, 401);
    }
}
