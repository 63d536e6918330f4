//! ServiceCIDR: where Services get their addresses.

use std::net::IpAddr;

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::addresses::{Cidr, strict_cidr};
use crate::causes::{invalid, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, items};
use crate::strategy::keep_all_but_status_on_status;
use crate::{Context, Kind, STATUS, Scope};

const FIELD: &str = "spec.cidrs";
const IMMUTABLE: &str = "field is immutable";

pub(crate) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.networking.v1.ServiceCIDR",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("CIDRs", "The networks, one for each family of addresses.", |object, _| {
            let cidrs: Vec<&str> = items(object, FIELD).iter().filter_map(Value::as_str).collect();
            cidrs.join(",").into()
        }),
        AGE,
    ],
    // Upstream leaves what a client says about the status in a write of the object.
    prepare_update: keep_all_but_status_on_status,
    validate,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return Vec::new();
    }
    let cidrs = items(object, FIELD);
    let Some(old) = context.old else { return validate_cidrs(object) };
    let before = items(old, FIELD);
    let changed = |index: usize| (cidrs[index] != before[index]).then_some(index);
    let told = |index: usize| invalid(format!("{FIELD}[{index}]"), cidrs[index].clone(), IMMUTABLE);
    match (before.len(), cidrs.len()) {
        (old, new) if old == new => (0..new).filter_map(changed).map(told).collect(),
        // The second family may be added.
        (1, 2) => changed(0).map(told).into_iter().chain(validate_cidrs(object)).collect(),
        _ => vec![invalid(FIELD, at(object, FIELD).clone(), IMMUTABLE)],
    }
}

fn validate_cidrs(object: &Value) -> Vec<Cause> {
    let cidrs = items(object, FIELD);
    match cidrs.len() {
        0 => return vec![required(FIELD, "at least one CIDR required")],
        1 | 2 => {}
        _ => return vec![invalid(FIELD, json!({"CIDRs": cidrs}), "may only hold up to 2 values")],
    }
    let mut causes = Vec::new();
    let mut families = Vec::new();
    for (index, cidr) in cidrs.iter().filter_map(Value::as_str).enumerate() {
        causes.extend(strict_cidr(&format!("{FIELD}[{index}]"), cidr));
        families.extend(Cidr::parse_lenient(cidr).map(|cidr| matches!(cidr.address, IpAddr::V4(_))));
    }
    if let [first, second] = families[..]
        && first == second
    {
        let problem = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        causes.push(invalid(FIELD, at(object, FIELD).clone(), problem));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};

    #[test]
    fn networks_are_canonical_and_of_different_families() {
        let with = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
        let cases: [(&[&str], Vec<&str>); 5] = [
            (&["10.0.0.0/16", "2001:db8::/64"], vec![]),
            (&[], vec!["spec.cidrs: Required value: at least one CIDR required"]),
            (
                &["a", "b", "c"],
                vec![r#"spec.cidrs: Invalid value: {"CIDRs":["a","b","c"]}: may only hold up to 2 values"#],
            ),
            (
                &["10.0.0.1/16"],
                vec![r#"spec.cidrs[0]: Invalid value: "10.0.0.1/16": must not have bits set beyond the prefix length"#],
            ),
            (
                &["10.0.0.0/16", "10.1.0.0/16"],
                vec![
                    r#"spec.cidrs: Invalid value: ["10.0.0.0/16","10.1.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#,
                ],
            ),
        ];
        for (cidrs, expected) in cases {
            assert_eq!(told(&KIND, &with(cidrs)), expected, "{cidrs:?}");
        }
        let updates: [(&[&str], Vec<&str>); 3] = [
            (&["10.0.0.0/16", "2001:db8::/64"], vec![]),
            (&["10.1.0.0/16"], vec![r#"spec.cidrs[0]: Invalid value: "10.1.0.0/16": field is immutable"#]),
            (&[], vec![r#"spec.cidrs: Invalid value: []: field is immutable"#]),
        ];
        for (cidrs, expected) in updates {
            assert_eq!(told_of_update(&KIND, &with(&["10.0.0.0/16"]), &with(cidrs), ""), expected, "{cidrs:?}");
        }
    }
}
