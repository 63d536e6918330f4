//! The messages and method paths of etcd's gRPC API, version 3, as etcd publishes them in `rpc.proto`, `kv.proto` and `auth.proto`.
//!
//! Plain data that encodes and decodes itself, so that client and server need no generated code. It must never know what a
//! field means: the store's engine and the face each translate for themselves.

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod watch;

pub use cluster::*;
pub use kv::*;
pub use lease::*;
pub use maintenance::*;
pub use watch::*;

/// Where each method is called.
pub mod paths {
    pub const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
    pub const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
    pub const AUTH_STATUS: &str = "/etcdserverpb.Auth/AuthStatus";
    pub const COMPACT: &str = "/etcdserverpb.KV/Compact";
    pub const DEFRAGMENT: &str = "/etcdserverpb.Maintenance/Defragment";
    pub const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
    pub const HASH: &str = "/etcdserverpb.Maintenance/Hash";
    pub const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
    pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    pub const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
    pub const LEASE_LEASES: &str = "/etcdserverpb.Lease/LeaseLeases";
    pub const LEASE_REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
    pub const LEASE_TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
    pub const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";
    pub const PUT: &str = "/etcdserverpb.KV/Put";
    pub const RANGE: &str = "/etcdserverpb.KV/Range";
    pub const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
    pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
    pub const TXN: &str = "/etcdserverpb.KV/Txn";
    pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
}

/// What every answer begins with.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The store's revision when the answer was made.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// An answer that says nothing but its header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// A request that says nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EmptyRequest {}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message;

    /// Bytes written by hand from the published field numbers, as the protocol buffer encoding spells them.
    #[test]
    fn messages_have_the_published_field_numbers() {
        let range = RangeRequest {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
            limit: 3,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            keys_only: true,
            max_create_revision: 9,
            ..RangeRequest::default()
        };
        assert_eq!(range.encode_to_vec(), b"\x0a\x01a\x12\x01b\x18\x03\x28\x02\x30\x03\x40\x01\x68\x09");
        let compare = Compare {
            result: CompareResult::NotEqual.into(),
            target: CompareTarget::Lease.into(),
            key: Bytes::from_static(b"k"),
            target_union: Some(TargetUnion::Lease(7)),
            range_end: Bytes::from_static(b"l"),
        };
        assert_eq!(compare.encode_to_vec(), b"\x08\x03\x10\x04\x1a\x01k\x40\x07\x82\x04\x01l");
        let txn = TxnRequest {
            compare: Vec::new(),
            success: vec![RequestOp { request: Some(Request::Txn(TxnRequest::default())) }],
            failure: vec![RequestOp {
                request: Some(Request::Put(PutRequest { ignore_lease: true, ..PutRequest::default() })),
            }],
        };
        assert_eq!(txn.encode_to_vec(), b"\x12\x02\x22\x00\x1a\x04\x12\x02\x30\x01");
        let watch = WatchResponse {
            watch_id: 2,
            fragment: true,
            events: vec![Event { r#type: EventType::Delete.into(), kv: None, prev_kv: Some(KeyValue::default()) }],
            ..WatchResponse::default()
        };
        assert_eq!(watch.encode_to_vec(), b"\x10\x02\x38\x01\x5a\x04\x08\x01\x1a\x00");
        let create = WatchCreateRequest {
            filters: vec![FilterType::Noput.into(), FilterType::Nodelete.into()],
            fragment: true,
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request: Some(WatchAction::Create(create)) };
        assert_eq!(create.encode_to_vec(), b"\x0a\x06\x2a\x02\x00\x01\x40\x01");
        let ttl = LeaseTimeToLiveResponse {
            ttl: -1,
            granted_ttl: 5,
            keys: vec![Bytes::from_static(b"k")],
            ..Default::default()
        };
        assert_eq!(ttl.encode_to_vec(), b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x05\x2a\x01k");
        let status = StatusResponse { db_size_in_use: 1, is_learner: true, ..StatusResponse::default() };
        assert_eq!(status.encode_to_vec(), b"\x48\x01\x50\x01");
        let member = Member { name: "m".to_owned(), client_urls: vec!["u".to_owned()], ..Member::default() };
        assert_eq!(member.encode_to_vec(), b"\x12\x01m\x22\x01u");
    }
}
