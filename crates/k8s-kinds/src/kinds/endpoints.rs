//! Endpoints: the addresses behind a Service in their old form.

use serde_json::Value;

use crate::columns::{AGE, Column, NAME};
use crate::fields::{items, text};
use crate::{Context, Deprecation, Kind};

pub(crate) static KIND: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    deprecated: Some(Deprecation { since: 33, replacement: "discovery.k8s.io/v1 EndpointSlice" }),
    type_name: "io.k8s.api.core.v1.Endpoints",
    columns: &[
        NAME,
        Column::text("Endpoints", "Addresses and ports that are ready.", |object, _| endpoints(object).into()),
        AGE,
    ],
    default,
    creates_on_update: true,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    for subset in crate::fields::items_mut(object, "subsets") {
        for port in crate::fields::items_mut(subset, "ports") {
            crate::fields::default_zero_to(port, "protocol", "TCP");
        }
    }
}

/// The first three pairs of address and port, and how many more there are.
fn endpoints(object: &Value) -> String {
    const SHOWN: usize = 3;
    let mut pairs = Vec::new();
    for subset in items(object, "subsets") {
        for address in items(subset, "addresses") {
            let ip = text(address, "ip");
            let ports = items(subset, "ports");
            if ports.is_empty() {
                pairs.push(ip.to_owned());
            }
            pairs.extend(ports.iter().map(|port| format!("{ip}:{}", port["port"])));
        }
    }
    let more = pairs.len().saturating_sub(SHOWN);
    let shown = pairs[..pairs.len() - more].join(",");
    match (shown.is_empty(), more) {
        (true, _) => "<none>".to_owned(),
        (false, 0) => shown,
        (false, more) => format!("{shown} + {more} more..."),
    }
}
