//! The Kubernetes versions that EKS knows and their calendar. Source: "Amazon EKS Kubernetes versions" in the EKS User Guide.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use world::Timestamp;

use crate::error;
use crate::service::{Call, paged};

/// A minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// For example `1.35`.
    pub name: &'static str,
    /// When EKS released it, `YYYY-MM-DD`.
    pub release: &'static str,
    /// Last day of standard support.
    pub end_standard: &'static str,
    /// Last day of extended support.
    pub end_extended: &'static str,
    /// The platform version of new clusters.
    pub platform: &'static str,
    /// The patch that runs.
    pub patch: &'static str,
}

/// Where a version stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionStatus {
    /// Fourteen months.
    Standard,
    /// Twelve more, paid.
    Extended,
    /// Over, or not yet begun.
    Unsupported,
}

/// What `CreateCluster` takes when no version is given.
pub const DEFAULT_VERSION: &str = "1.35";

/// Oldest first.
pub static VERSIONS: &[Version] = &[
    Version {
        name: "1.30",
        release: "2024-05-23",
        end_standard: "2025-07-23",
        end_extended: "2026-07-23",
        platform: "eks.72",
        patch: "1.30.14",
    },
    Version {
        name: "1.31",
        release: "2024-09-26",
        end_standard: "2025-11-26",
        end_extended: "2026-11-26",
        platform: "eks.64",
        patch: "1.31.14",
    },
    Version {
        name: "1.32",
        release: "2025-01-23",
        end_standard: "2026-03-23",
        end_extended: "2027-03-23",
        platform: "eks.48",
        patch: "1.32.12",
    },
    Version {
        name: "1.33",
        release: "2025-05-29",
        end_standard: "2026-07-29",
        end_extended: "2027-07-29",
        platform: "eks.41",
        patch: "1.33.8",
    },
    Version {
        name: "1.34",
        release: "2025-10-02",
        end_standard: "2026-12-02",
        end_extended: "2027-12-02",
        platform: "eks.27",
        patch: "1.34.4",
    },
    Version {
        name: "1.35",
        release: "2026-01-28",
        end_standard: "2027-03-27",
        end_extended: "2028-03-27",
        platform: "eks.17",
        patch: "1.35.2",
    },
    Version {
        name: "1.36",
        release: "2026-06-02",
        end_standard: "2027-08-02",
        end_extended: "2028-08-02",
        platform: "eks.6",
        patch: "1.36.1",
    },
];

fn day(text: &str) -> Timestamp {
    Timestamp::parse(&format!("{text}T00:00:00Z")).unwrap_or_default()
}

impl Version {
    /// The number after the dot.
    pub fn minor(&self) -> u32 {
        minor_of(self.name).unwrap_or_default()
    }

    /// Where it stands. A version that is not out yet on the world's clock counts as supported: a rehearsal starts in the past
    /// and may try what comes.
    pub fn status(&self, now: Timestamp) -> VersionStatus {
        if now < day(self.end_standard) {
            VersionStatus::Standard
        } else if now < day(self.end_extended) {
            VersionStatus::Extended
        } else {
            VersionStatus::Unsupported
        }
    }

    fn json(&self, now: Timestamp) -> Value {
        let (status, version_status) = match self.status(now) {
            VersionStatus::Standard => ("standard-support", "STANDARD_SUPPORT"),
            VersionStatus::Extended => ("extended-support", "EXTENDED_SUPPORT"),
            VersionStatus::Unsupported => ("unsupported", "UNSUPPORTED"),
        };
        json!({
            "clusterVersion": self.name, "clusterType": "eks", "defaultPlatformVersion": self.platform,
            "defaultVersion": self.name == DEFAULT_VERSION, "releaseDate": day(self.release).seconds(),
            "endOfStandardSupportDate": day(self.end_standard).seconds(), "endOfExtendedSupportDate": day(self.end_extended).seconds(),
            "status": status, "versionStatus": version_status, "kubernetesPatchVersion": self.patch,
        })
    }
}

/// The number after the dot of `1.35`.
pub(crate) fn minor_of(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}

/// A version by name.
pub(crate) fn find(name: &str) -> Option<&'static Version> {
    VERSIONS.iter().find(|version| version.name == name)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    cluster_type: Option<String>,
    #[serde(default)]
    default_only: bool,
    #[serde(default)]
    include_all: bool,
    #[serde(default)]
    cluster_versions: Vec<String>,
    status: Option<String>,
    version_status: Option<String>,
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    for name in &input.cluster_versions {
        if find(name).is_none() {
            return Err(error::invalid_parameter(format!("The specified Kubernetes version {name} is not valid")));
        }
    }
    let now = call.ctx.now;
    let mut items = Vec::new();
    // Newest first, as AWS lists them.
    for (n, version) in VERSIONS.iter().rev().enumerate() {
        let json = version.json(now);
        let wanted = if input.cluster_versions.is_empty() {
            input.include_all
                || input.version_status.is_some()
                || input.status.is_some()
                || version.status(now) != VersionStatus::Unsupported
        } else {
            input.cluster_versions.iter().any(|name| name == version.name)
        };
        let fits = |filter: &Option<String>, member: &str| {
            filter.as_ref().is_none_or(|filter| json[member].as_str() == Some(filter.as_str()))
        };
        if wanted
            && fits(&input.cluster_type, "clusterType")
            && fits(&input.status, "status")
            && fits(&input.version_status, "versionStatus")
            && (!input.default_only || version.name == DEFAULT_VERSION)
        {
            items.push((format!("{n:04}"), json));
        }
    }
    paged(call.input, items, "clusterVersions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_in_order() {
        assert!(VERSIONS.windows(2).all(|pair| pair[0].minor() + 1 == pair[1].minor()));
        assert!(VERSIONS.iter().all(|v| v.release < v.end_standard && v.end_standard < v.end_extended));
        assert!(find(DEFAULT_VERSION).is_some());
        let november = day("2026-11-20");
        let status = |name| find(name).map(|version| version.status(november));
        assert_eq!(status("1.30"), Some(VersionStatus::Unsupported));
        assert_eq!(status("1.31"), Some(VersionStatus::Extended));
        assert_eq!(status("1.34"), Some(VersionStatus::Standard));
    }
}
