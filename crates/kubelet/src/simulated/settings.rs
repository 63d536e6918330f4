//! What people can make a simulated container do: annotations on its pod, and a table of known images.

use std::time::Duration;

use k8s_object::Properties;

/// The prefix of every annotation.
const PREFIX: &str = "simulation.minato.dev/";

/// One annotation.
pub struct Setting {
    /// After the prefix, e.g. `ready-seconds`. Written `<container>.ready-seconds` it holds for that container only.
    pub name: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    pub effect: &'static str,
}

/// Every annotation that the simulated runtime reads, as `simulation.minato.dev/<name>`. A value that cannot be read counts
/// as absent.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "exit-after-seconds", value: "seconds", effect: "the container ends by itself after this long" },
    Setting { name: "exit-code", value: "number", effect: "the code with which it ends by itself or after SIGTERM" },
    Setting { name: "exit-reason", value: "OOMKilled", effect: "the reason of that end; OOMKilled has code 137" },
    Setting { name: "hook-seconds", value: "seconds", effect: "how long a postStart or preStop hook runs" },
    Setting { name: "ignores-sigterm", value: "true", effect: "the container ends by SIGKILL only" },
    Setting { name: "post-start-error", value: "text", effect: "the postStart hook fails with it" },
    Setting { name: "pull-error", value: "text", effect: "the image cannot be pulled, with this message" },
    Setting { name: "pull-mib", value: "number", effect: "the image's size" },
    Setting { name: "pull-seconds", value: "seconds", effect: "how long a pull takes, whatever the size" },
    Setting {
        name: "ready-seconds",
        value: "seconds or never",
        effect: "readiness and startup probes succeed from then on",
    },
    Setting { name: "sandbox-error", value: "text", effect: "the pod's sandbox cannot be created" },
    Setting { name: "sandbox-seconds", value: "seconds", effect: "how long the pod's sandbox takes" },
    Setting { name: "start-error", value: "text", effect: "the container cannot be started" },
    Setting { name: "start-seconds", value: "seconds", effect: "how long creating and starting it takes" },
    Setting { name: "stop-seconds", value: "seconds", effect: "from SIGTERM to its end" },
    Setting { name: "unhealthy-after-seconds", value: "seconds", effect: "its liveness probe fails from then on" },
];

/// The settings of one container.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    annotations: &'a Properties,
    container: &'a str,
}

impl<'a> Settings<'a> {
    pub(super) fn of(annotations: &'a Properties, container: &'a str) -> Settings<'a> {
        Settings { annotations, container }
    }

    /// A setting's text: the container's own before the pod's.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name} is not in the table");
        if self.annotations.is_empty() {
            return None;
        }
        let own = self.annotations.get(&format!("{PREFIX}{}.{name}", self.container));
        own.or_else(|| self.annotations.get(&format!("{PREFIX}{name}")))
    }

    pub(super) fn seconds(self, name: &str) -> Option<Duration> {
        let seconds: f64 = self.text(name)?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    pub(super) fn number(self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    pub(super) fn flag(self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// Compressed sizes of images people try things with, in MiB, by the last part of their name. Alphabetical.
const SIZES: &[(&str, u64)] = &[
    ("alpine", 4),
    ("amazonlinux", 55),
    ("busybox", 2),
    ("coredns", 20),
    ("curl", 10),
    ("debian", 47),
    ("golang", 300),
    ("httpd", 58),
    ("mongo", 260),
    ("mysql", 180),
    ("nginx", 72),
    ("node", 390),
    ("pause", 1),
    ("perl", 350),
    ("postgres", 155),
    ("python", 370),
    ("redis", 45),
    ("ubuntu", 30),
];

/// Any other image.
const DEFAULT_SIZE: u64 = 100;

/// Size of an image in MiB.
pub(super) fn image_mib(image: &str) -> u64 {
    let last = image.rsplit('/').next().unwrap_or_default();
    let name = last.split([':', '@']).next().unwrap_or_default();
    SIZES.binary_search_by(|(known, _)| (*known).cmp(name)).map_or(DEFAULT_SIZE, |at| SIZES[at].1)
}

/// An image's full name, as containerd reports it: with registry, and with a tag unless it has a digest.
pub(crate) fn image_reference(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let registry = first.contains(['.', ':']) || first == "localhost";
    let mut name = match (first, registry) {
        ("", _) => format!("docker.io/library/{rest}"),
        (_, true) => image.to_owned(),
        (_, false) => format!("docker.io/{image}"),
    };
    let last = image.rsplit('/').next().unwrap_or_default();
    if !last.contains([':', '@']) {
        name.push_str(":latest");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order() {
        assert!(SETTINGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(SIZES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_containers_own_setting_wins() {
        let annotations: Properties = [
            ("simulation.minato.dev/ready-seconds", "2"),
            ("simulation.minato.dev/web.ready-seconds", "0.5"),
            ("simulation.minato.dev/exit-code", "x"),
            ("simulation.minato.dev/pull-seconds", "-1"),
        ]
        .into_iter()
        .collect();
        let seconds = |container| Settings::of(&annotations, container).seconds("ready-seconds");
        assert_eq!(seconds("web"), Some(Duration::from_millis(500)));
        assert_eq!(seconds("other"), Some(Duration::from_secs(2)));
        assert_eq!(Settings::of(&annotations, "web").number("exit-code"), None, "what cannot be read counts as absent");
        assert_eq!(Settings::of(&annotations, "web").seconds("pull-seconds"), None);
    }

    #[test]
    fn image_names_are_completed() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest", 72),
            ("nginx:1.29", "docker.io/library/nginx:1.29", 72),
            ("grafana/grafana", "docker.io/grafana/grafana:latest", 100),
            ("localhost/web", "localhost/web:latest", 100),
            ("registry:5000/web", "registry:5000/web:latest", 100),
            ("public.ecr.aws/nginx/nginx:1", "public.ecr.aws/nginx/nginx:1", 72),
            ("redis@sha256:00", "docker.io/library/redis@sha256:00", 45),
        ];
        for (image, full, mib) in cases {
            assert_eq!((image_reference(image).as_str(), image_mib(image)), (full, mib), "{image}");
        }
    }
}
