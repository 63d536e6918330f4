//! Reads `generated.proto` and compares it with the Go structs: the table must not lie about field numbers.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use super::go::{Package, find, json_name, number_of};
use super::{LEAVES, PROTO_ONLY};

pub(super) type Messages = BTreeMap<String, BTreeMap<u32, (String, String)>>;

/// Messages to field number to (name, type).
pub(super) fn read_proto(text: &str) -> anyhow::Result<Messages> {
    let mut messages = Messages::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            messages.insert(name.to_owned(), BTreeMap::new());
            current = Some(name.to_owned());
        } else if line == "}" {
            current = None;
        } else if let (Some(message), Some((left, right))) =
            (&current, line.strip_suffix(';').and_then(|l| l.split_once(" = ")))
        {
            if line.starts_with("//") {
                continue;
            }
            let (ty, name) = left.rsplit_once(' ').with_context(|| format!("cannot read: {line}"))?;
            let number = right.split(' ').next().unwrap_or_default().parse()?;
            messages.entry(message.clone()).or_default().insert(number, (name.to_owned(), ty.to_owned()));
        }
    }
    Ok(messages)
}

/// Every protobuf field must be one that the Go struct has, under the same number: the table would lie otherwise.
pub(super) fn check_proto(packages: &BTreeMap<String, Package>, protos: &Messages) -> anyhow::Result<()> {
    for (qualified, fields) in protos {
        let Some((short, package, name)) = find(packages, qualified) else { bail!("{qualified}: no such package") };
        if LEAVES.contains(&(short, name.as_str()))
            || package.named.contains_key(&name)
            || PROTO_ONLY.contains(&qualified.as_str())
        {
            continue;
        }
        let found = package.structs.get(&name).with_context(|| format!("{qualified} is a message without a struct"))?;
        for (number, (proto_name, _)) in fields {
            let field = found.fields.iter().find(|f| number_of(f) == *number);
            let field = field
                .with_context(|| format!("{qualified}: protobuf field {number} {proto_name} is not in the struct"))?;
            let json = json_name(field);
            ensure!(
                json.is_empty()
                    || json.eq_ignore_ascii_case(proto_name)
                    || proto_name == json.trim_start_matches('$')
                    || json.contains('-'),
                "{qualified}: field {number} is {json} in JSON and {proto_name} in protobuf"
            );
        }
    }
    Ok(())
}
