//! The Kubernetes API server: one request pipeline for every kind and every client.
//!
//! A request, from a socket ([`ApiServer::handler`]) or from a component in the same process ([`ApiServer::api`]), takes one path:
//! authorization, decoding, defaulting, admission, the kind's strategy, validation, the store; reads come out of the watch cache,
//! whose objects are held once, as bytes. Nothing here knows AWS, opens sockets, or asks a clock that was not passed.

mod admission;
mod aggregation;
mod apply;
mod audit;
mod auth;
mod bootstrap;
mod cache;
mod core;
mod counted;
mod crd;
mod create;
mod defaults;
mod delete;
mod duties;
mod encryption;
mod feed;
mod fields;
mod flow;
mod horizon;
mod http;
mod jsonpath;
mod kind_rules;
mod leases;
mod list_options;
mod managed;
mod metadata;
mod metrics;
mod network;
mod own_objects;
mod owner_references;
mod ports;
mod proxy;
mod read;
mod registry;
mod runs;
mod schema;
mod select;
mod selectors;
mod server;
mod server_lease;
mod storage;
mod subresources;
mod update;
mod virtuals;
mod wake;
mod watch;
mod webhook;
mod write;
mod yaml;

pub use audit::{
    Audit, AuditEvent, AuditFile, AuditLevel, AuditObject, AuditPolicy, AuditPolicyError, AuditRing, AuditStage,
};
pub use auth::{
    Anonymous, Authentication, AuthorizationWebhook, ConfigError, FailurePolicy, FrontProxy, JwtAuthenticator, Mapping,
    Mode, Remote, Rule, TokenWebhook, authentication_from, authorization_from,
};
pub use encryption::{
    EncryptionConfig, EncryptionConfigError, Kms, KmsByName, KmsCiphertext, KmsError, KmsKey, LocalKms,
};
pub use network::ServiceCidr;
pub use ports::{AuditSink, AuthError, Authorizer, Decision, TokenAuthenticator};
pub use proxy::{ClientCertificate, Kubelets};
pub use server::{ApiServer, Options, StartError};
pub use storage::{StoredKey, parse as parse_stored_key};
pub use webhook::{Connection, Dialer, Sockets};
