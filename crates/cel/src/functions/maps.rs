//! How comprehensions of two variables collect maps. No text can call it.

use std::sync::Arc;

use super::Def;
use crate::error::EvalError;
use crate::macros::MAP_INSERT;
use crate::meter::Meter;
use crate::val::{Key, Map, Val};

pub(super) const DEFS: &[Def] = &[Def {
    name: MAP_INSERT,
    since: 32,
    call: insert,
    overloads: &[
        ("@mapInsert_map_key_value", "map(K, V), K, V", "map(K, V)"),
        ("@mapInsert_map_map", "map(K, V), map(K, V)", "map(K, V)"),
    ],
}];

fn insert<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::Map(map), rest @ ..] = args else { return Err(EvalError::NoSuchOverload) };
    let mut entries = match map {
        Map::Owned(entries) => {
            meter.work(entries.len() as u64)?;
            entries.clone()
        }
        Map::Json(..) => return Err(EvalError::NoSuchOverload),
    };
    insert_into(&mut entries, rest, meter)?;
    Ok(Val::Map(Map::Owned(entries)))
}

type Entries<'a> = Arc<std::collections::BTreeMap<Key<'a>, (Val<'a>, Val<'a>)>>;

/// Adds a key and its value, or all entries of a map. Errors when a key is there already.
pub(crate) fn insert_into<'a>(entries: &mut Entries<'a>, args: &[Val<'a>], meter: &mut Meter) -> Result<(), EvalError> {
    let entries = Arc::make_mut(entries);
    let mut insert = |key: &Val<'a>, value: Val<'a>| {
        let Some(found) = Key::of(key) else { return Err(EvalError::NoSuchOverload) };
        if entries.insert(found, (key.clone(), value)).is_some() {
            let shown = crate::convert::to_text(key).unwrap_or_default();
            return Err(EvalError::new(format!("insert failed: key {shown} already exists")));
        }
        Ok(())
    };
    match args {
        [key, value] => insert(key, value.clone()),
        [Val::Map(more)] => {
            for key in more.keys() {
                meter.work(1)?;
                if let Some(value) = more.find(&key)? {
                    insert(&key, value)?;
                }
            }
            Ok(())
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}
