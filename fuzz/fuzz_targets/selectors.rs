//! Any text as a selector of labels or of fields: it is read or refused, and what was read and written out is read as the same.

#![no_main]

use k8s_object::{FieldSelector, LabelSelector, Properties, Requirement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let labels: Properties = [("app", "web"), ("size", "5"), ("x.io/y", "")].into_iter().collect();
    if let Ok(selector) = LabelSelector::parse(text) {
        let written: Vec<String> = selector.requirements.iter().map(write).collect();
        assert_eq!(LabelSelector::parse(&written.join(",")).as_ref(), Ok(&selector), "{text:?}");
        assert_eq!(selector.matches(&labels), selector.requirements.iter().all(|own| own.matches(&labels)));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let written: Vec<String> = selector
            .terms
            .iter()
            .map(|(path, value, equal)| {
                let value = value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
                format!("{path}{}{value}", if *equal { "==" } else { "!=" })
            })
            .collect();
        assert_eq!(FieldSelector::parse(&written.join(",")).as_ref(), Ok(&selector), "{text:?}");
        selector.matches(|path| (path == "spec.nodeName").then(|| "n".into()));
    }
    if let Ok(selector) = serde_json::from_str::<LabelSelector>(text) {
        selector.matches(&labels);
    }
});

fn write(requirement: &Requirement) -> String {
    let set = |values: &std::collections::BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
    match requirement {
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
        Requirement::In(key, values) => format!("{key} in ({})", set(values)),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", set(values)),
        Requirement::GreaterThan(key, bound) => format!("{key}>{bound}"),
        Requirement::LessThan(key, bound) => format!("{key}<{bound}"),
    }
}
