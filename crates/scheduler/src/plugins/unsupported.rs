//! Keeps pods pending that require what no plugin here can guarantee yet, instead of binding them wrongly.

use crate::framework::{Plugin, PreFilter};

pub const PLUGIN: Plugin = Plugin {
    pre_filter: Some(|pod, _, _| match &pod.shape.unsupported {
        None => PreFilter::All,
        Some(missing) => PreFilter::Refuse(format!(
            "{} requires the scheduler plugin {}, which Minato does not support yet",
            missing.field, missing.plugin
        )),
    }),
    ..Plugin::named("Unsupported")
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Cycle;
    use crate::plugins::testing::pod;
    use crate::snapshot::Snapshot;
    use serde_json::json;

    #[test]
    fn what_cannot_be_guaranteed_is_refused_by_name() {
        let cases = [
            (json!({}), None),
            (json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}}]}), None),
            (
                json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "c"}}]}),
                Some("spec.volumes[1].persistentVolumeClaim requires the scheduler plugin VolumeBinding"),
            ),
            (
                json!({"resourceClaims": [{"name": "gpu"}]}),
                Some("spec.resourceClaims requires the scheduler plugin DynamicResources"),
            ),
        ];
        for (spec, expected) in cases {
            let answer = PLUGIN.pre_filter.unwrap()(&pod(spec.clone()), &Snapshot::default(), &mut Cycle::default());
            match expected {
                None => assert_eq!(answer, PreFilter::All, "{spec}"),
                Some(text) => {
                    assert!(matches!(&answer, PreFilter::Refuse(why) if why.starts_with(text)), "{spec} {answer:?}");
                }
            }
        }
    }
}
