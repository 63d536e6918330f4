//! Serves a store over etcd's gRPC API.
