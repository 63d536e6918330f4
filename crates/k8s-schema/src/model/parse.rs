//! Reads the lines of the table. Only this file knows its notation.
//!
//! ```text
//! P short long group version          a package; `-` is none
//! S Name [range] [k|k=group/version] [atomic] [life=introduced,deprecated,removed,replacement]
//! N Name type [range] [wrapped]       a named type; ` = value [range]` lines follow when it enumerates
//! X Name [range]                      a leaf with a JSON form of its own
//!  name number type [range] [! required] [r declared] [o omitempty] [l=listType] [k=listMapKeys] [m=mapType]
//!       [p=patchStrategy] [pk=patchMergeKey] [min=] [max=] [maxItems=] [maxBytes=] [d=default]
//!  @ number type                       an embedded struct, whose fields JSON has inline
//! ```
//!
//! The table is part of the program, so a line that cannot be read is a broken invariant, and a test reads them all.

use std::sync::OnceLock;

use super::{
    Body, EnumValue, Field, KindEntry, Leaf, LifeCycle, Limits, Minor, Minors, Model, Named, Package, Slot, Struct, Ty,
    TyKind, TypeDef, TypeId,
};

/// Notes where each package and type starts.
pub(super) fn open(text: &'static str) -> Model {
    let mut model =
        Model { packages: Vec::with_capacity(90), slots: Vec::with_capacity(1_700), kinds: Vec::with_capacity(700) };
    let mut start: Option<(usize, u16, &'static str)> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let at = offset;
        offset += line.len();
        let tag = line.as_bytes()[0];
        if tag == b' ' {
            continue;
        }
        if let Some((from, package, name)) = start.take() {
            push_slot(&mut model, package, name, &text[from..at]);
        }
        let mut words = line.split_ascii_whitespace().skip(1);
        match tag {
            b'P' => {
                let mut word = || words.next().expect("a package line has four words");
                let (short, long) = (word(), word());
                let mut known = || Some(word()).filter(|word| *word != "-").unwrap_or_default();
                model.packages.push(Package { short, long, group: known(), version: known() });
            }
            b'S' | b'N' | b'X' => {
                let package = u16::try_from(model.packages.len() - 1).expect("fewer than 65,536 packages");
                start = Some((at, package, words.next().expect("a type has a name")));
            }
            _ => {}
        }
    }
    if let Some((from, package, name)) = start {
        push_slot(&mut model, package, name, &text[from..]);
    }
    model.kinds.sort_by(|a, b| (a.group, a.version, a.kind).cmp(&(b.group, b.version, b.kind)));
    model
}

fn push_slot(model: &mut Model, package: u16, name: &'static str, text: &'static str) {
    let id = TypeId(u16::try_from(model.slots.len()).expect("fewer than 65,536 types"));
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with('S') {
        push_kind(model, package, name, first, id);
    }
    let ty = Ty { pointer: false, kind: TyKind::Named(id) };
    model.slots.push(Slot { package, name, text, ty, def: OnceLock::new(), has_defaults: OnceLock::new() });
}

fn push_kind(model: &mut Model, package: u16, name: &'static str, line: &'static str, id: TypeId) {
    let package = &model.packages[usize::from(package)];
    let mut served = None;
    let mut minors = Minors::ALL;
    let mut life_cycle = LifeCycle::default();
    for word in line.split(' ').skip(2) {
        if word == "k" {
            served = Some((package.group, package.version));
        } else if let Some(place) = word.strip_prefix("k=") {
            let (group, version) = place.split_once('/').expect("k=group/version");
            served = Some((if group == "-" { "" } else { group }, version));
        } else if let Some(life) = word.strip_prefix("life=") {
            let mut parts = life.split(',');
            let mut minor = || {
                parts.next().and_then(|part| part.strip_prefix("1.")).and_then(|part| part.parse().ok()).unwrap_or(0)
            };
            let (introduced, deprecated, removed) = (minor(), minor(), minor());
            life_cycle = LifeCycle { introduced, deprecated, removed, replacement: parts.next().unwrap_or_default() };
        } else if let Some(range) = read_range(word, Minors::ALL) {
            minors = range;
        }
    }
    if let Some((group, version)) = served {
        model.kinds.push(KindEntry {
            group,
            version,
            kind: name,
            since: minors.since,
            until: minors.until,
            life_cycle,
            id,
        });
    }
}

/// Reads all lines of one type.
pub(super) fn read_type(model: &'static Model, slot: &'static Slot) -> TypeDef {
    let package = &model.packages[usize::from(slot.package)];
    let mut lines = slot.text.lines();
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let tag = words.next();
    let words = words.skip(1);
    let minors = words.clone().find_map(|word| read_range(word, Minors::ALL)).unwrap_or(Minors::ALL);
    let body = match tag {
        Some("S") => {
            Body::Struct(read_struct(model, slot.package, lines, words.clone().any(|word| word == "atomic"), minors))
        }
        Some("N") => {
            let ty = first.split(' ').nth(2).unwrap_or_else(|| panic!("no type in {first:?}"));
            let values = lines.map(|line| read_value(line, minors)).collect();
            Body::Named(Named { ty: read_ty(model, slot.package, ty), values })
        }
        _ => Body::Leaf(Leaf::named(slot.name).unwrap_or_else(|| panic!("leaf {:?} is not known", slot.name))),
    };
    TypeDef { package, name: slot.name, minors, body }
}

fn read_struct(
    model: &'static Model,
    package: u16,
    lines: std::str::Lines<'static>,
    atomic: bool,
    minors: Minors,
) -> Struct {
    let mut fields = Vec::new();
    for line in lines {
        let field = read_field(model, package, line, minors);
        if field.name != "@" {
            fields.push(field);
            continue;
        }
        let TyKind::Named(id) = field.ty.kind else { panic!("only structs are embedded: {line:?}") };
        let slot = &model.slots[usize::from(id.0)];
        // Read anew instead of shared: fields are owned by one struct, and embedded structs are small and few.
        let Body::Struct(inner) = read_type(model, slot).body else { panic!("only structs are embedded: {line:?}") };
        fields.extend(inner.fields);
    }
    fields.sort_by(|a, b| (a.name, a.minors.since).cmp(&(b.name, b.minors.since)));
    Struct { fields, atomic }
}

fn read_field(model: &'static Model, package: u16, line: &'static str, outer: Minors) -> Field {
    let mut words = line[1..].split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("too few words in {line:?}"));
    let (name, number, ty) = (word(), word(), word());
    let mut field = Field {
        name,
        number: number.parse().unwrap_or_else(|_| panic!("no number in {line:?}")),
        ty: read_ty(model, package, ty),
        minors: outer,
        required: false,
        declared_required: false,
        omit_empty: false,
        default: None,
        list_type: None,
        list_map_keys: Vec::new(),
        map_type: None,
        patch_strategy: None,
        patch_merge_key: None,
        limits: Limits::default(),
    };
    for word in words {
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("no number in {line:?}"));
        match word.split_once('=') {
            Some(("d", value)) => {
                field.default = Some(serde_json::from_str(value).unwrap_or_else(|_| panic!("no JSON in {line:?}")));
            }
            Some(("k", value)) => field.list_map_keys = value.split(',').collect(),
            Some(("l", value)) => field.list_type = Some(value),
            Some(("m", value)) => field.map_type = Some(value),
            Some(("max", value)) => field.limits.maximum = value.parse().ok(),
            Some(("maxBytes", value)) => field.limits.max_bytes = Some(number(value)),
            Some(("maxItems", value)) => field.limits.max_items = Some(number(value)),
            Some(("min", value)) => field.limits.minimum = value.parse().ok(),
            Some(("p", value)) => field.patch_strategy = Some(value),
            Some(("pk", value)) => field.patch_merge_key = Some(value),
            None if word == "!" => field.required = true,
            None if word == "r" => field.declared_required = true,
            None if word == "o" => field.omit_empty = true,
            _ => {
                field.minors =
                    read_range(word, outer).unwrap_or_else(|| panic!("{word:?} is not understood in {line:?}"))
            }
        }
    }
    field
}

fn read_value(line: &'static str, outer: Minors) -> EnumValue {
    let mut words = line.split(' ').skip(2);
    let value = words.next().unwrap_or_else(|| panic!("no value in {line:?}"));
    let minors = words.next().and_then(|word| read_range(word, outer)).unwrap_or(outer);
    EnumValue { value, minors }
}

/// `34-`, `-35`, `34-35`
fn read_range(word: &str, outer: Minors) -> Option<Minors> {
    let (since, until) = word.split_once('-')?;
    let end = |text: &str, absent: Minor| if text.is_empty() { Some(absent) } else { text.parse().ok() };
    Some(Minors { since: end(since, outer.since)?, until: end(until, outer.until)? })
}

fn read_ty(model: &'static Model, package: u16, text: &'static str) -> Ty {
    if let Some(rest) = text.strip_prefix('*') {
        return Ty { pointer: true, ..read_ty(model, package, rest) };
    }
    let kind = if let Some(rest) = text.strip_prefix("[]") {
        TyKind::List(Box::new(read_ty(model, package, rest)))
    } else if let Some((key, value)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        TyKind::Map { key, value: Box::new(read_ty(model, package, value)) }
    } else {
        match text {
            "any" => TyKind::Any,
            "bool" => TyKind::Bool,
            "bytes" => TyKind::Bytes,
            "float64" => TyKind::Float64,
            "int32" => TyKind::Int32,
            "int64" => TyKind::Int64,
            "string" => TyKind::String,
            name => {
                let id = match name.rsplit_once('.') {
                    Some((short, name)) => model.find(short, name),
                    None => model.find_in(package, name),
                };
                TyKind::Named(id.unwrap_or_else(|| panic!("type {name:?} is not in the table")))
            }
        }
    };
    Ty { pointer: false, kind }
}
