//! The Kubernetes versions that EKS knows, their dates, and which of them this service runs (`DescribeClusterVersions`).
//!
//! Must never decide whether a cluster may move from one version to another; that is the update's work.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use world::Timestamp;

use crate::service::{Call, paged};

/// Follows the patch version in what the API server and kubelets report. Clients expect seven hexadecimal digits after
/// `-eks-`; these begin with "Min" in ASCII, so that a version is seen not to come from AWS.
const BUILD_SUFFIX: &str = "-eks-4d696e6";

/// The only cluster type: Outposts has its own, which this service does not run.
const CLUSTER_TYPE: &str = "eks";

/// The version of a cluster whose `CreateCluster` names none.
///
/// AWS moves its default some months after a release: 1.31 was still the default after 1.32 came out (January 2025). Of 1.36
/// (June 2026) no published answer says that it is the default, so it is 1.35.
const DEFAULT: &str = "1.35";

/// A Kubernetes minor version as EKS offers it.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// `1.35`.
    pub name: &'static str,
    /// The patch that runs: `1.35.2`.
    pub patch: &'static str,
    /// The build of the control plane that new clusters get: `eks.9`.
    pub platform_version: &'static str,
    /// Whether this service can run it. One that it cannot run is always [`Support::Unsupported`].
    pub served: bool,
    /// When EKS released it, midnight UTC, as are the two ends.
    pub release_date: Timestamp,
    /// Standard support ends, fourteen months later.
    pub end_of_standard_support: Timestamp,
    /// Extended support ends, twelve months after that.
    pub end_of_extended_support: Timestamp,
}

/// How AWS supports a version at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// In the first fourteen months.
    StandardSupport,
    /// In the twelve months after, at a higher price.
    ExtendedSupport,
    /// No cluster of it can be made.
    Unsupported,
}

impl Support {
    /// As `versionStatus` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Support::StandardSupport => "STANDARD_SUPPORT",
            Support::ExtendedSupport => "EXTENDED_SUPPORT",
            Support::Unsupported => "UNSUPPORTED",
        }
    }

    /// Reads both forms that the API takes: `STANDARD_SUPPORT` of `versionStatus` and `standard-support` of the older `status`.
    fn parse(text: &str) -> Option<Support> {
        match text {
            "STANDARD_SUPPORT" | "standard-support" => Some(Support::StandardSupport),
            "EXTENDED_SUPPORT" | "extended-support" => Some(Support::ExtendedSupport),
            "UNSUPPORTED" | "unsupported" => Some(Support::Unsupported),
            _ => None,
        }
    }
}

/// Ascending. Patches and platform versions are pairs that AWS has published together (EKS user guide, platform versions), except
/// two: 1.30 has upstream's last patch and 1.36 that of EKS Distro, beside the newest platform version published.
/// Dates: EKS user guide, Kubernetes release calendar.
#[rustfmt::skip]
pub static VERSIONS: &[Version] = &[
    Version { name: "1.30", patch: "1.30.14", platform_version: "eks.72", served: false, release_date: day(2024, 5, 23), end_of_standard_support: day(2025, 7, 23), end_of_extended_support: day(2026, 7, 23) },
    Version { name: "1.31", patch: "1.31.14", platform_version: "eks.56", served: false, release_date: day(2024, 9, 26), end_of_standard_support: day(2025, 11, 26), end_of_extended_support: day(2026, 11, 26) },
    Version { name: "1.32", patch: "1.32.12", platform_version: "eks.40", served: false, release_date: day(2025, 1, 23), end_of_standard_support: day(2026, 3, 23), end_of_extended_support: day(2027, 3, 23) },
    Version { name: "1.33", patch: "1.33.8", platform_version: "eks.33", served: true, release_date: day(2025, 5, 29), end_of_standard_support: day(2026, 7, 29), end_of_extended_support: day(2027, 7, 29) },
    Version { name: "1.34", patch: "1.34.4", platform_version: "eks.19", served: true, release_date: day(2025, 10, 2), end_of_standard_support: day(2026, 12, 2), end_of_extended_support: day(2027, 12, 2) },
    Version { name: "1.35", patch: "1.35.2", platform_version: "eks.9", served: true, release_date: day(2026, 1, 28), end_of_standard_support: day(2027, 3, 27), end_of_extended_support: day(2028, 3, 27) },
    Version { name: "1.36", patch: "1.36.2", platform_version: "eks.6", served: true, release_date: day(2026, 6, 2), end_of_standard_support: day(2027, 8, 2), end_of_extended_support: day(2028, 8, 2) },
];

impl Version {
    /// The second number: 35 of 1.35.
    pub fn minor(&self) -> u32 {
        minor_of(self.name).expect("a test walks the table")
    }
}

/// What the API server's `/version` and the kubelets of a version report: `v1.35.2-eks-4d696e6` of `1.35`. `None` for a version
/// that EKS does not know.
pub fn git_version(version: &str) -> Option<String> {
    find(version).map(|version| format!("v{}{BUILD_SUFFIX}", version.patch))
}

/// The number after the dot of `1.35`.
pub(crate) fn minor_of(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}

/// The row of `1.35`, served or not.
pub(crate) fn find(name: &str) -> Option<&'static Version> {
    VERSIONS.iter().find(|version| version.name == name)
}

/// The version of a cluster that names none.
pub(crate) fn default() -> &'static Version {
    find(DEFAULT).expect("a test finds the default in the table")
}

/// The version of this name, if clusters can be made of it or updated to it.
pub(crate) fn supported(name: &str, now: Timestamp) -> Option<&'static Version> {
    find(name).filter(|version| status_at(version, now) != Support::Unsupported)
}

/// How AWS supports it by its dates alone. A version that is not out yet counts as new: virtual clocks may start anywhere.
fn support_by_date(version: &Version, now: Timestamp) -> Support {
    if now < version.end_of_standard_support {
        Support::StandardSupport
    } else if now < version.end_of_extended_support {
        Support::ExtendedSupport
    } else {
        Support::Unsupported
    }
}

/// What `DescribeClusterVersions` says of it. Not served is [`Support::Unsupported`] whatever the dates: clients take every other
/// answer as leave to make a cluster of it.
fn status_at(version: &Version, now: Timestamp) -> Support {
    if version.served { support_by_date(version, now) } else { Support::Unsupported }
}

/// One item of `DescribeClusterVersions`; dates are seconds since the epoch.
///
/// `status` carries the upper-case form too, although the model's enumeration has `standard-support`: AWS's published example
/// does, and eksctl compares it with `UNSUPPORTED`.
fn show(version: &Version, now: Timestamp) -> Value {
    let status = status_at(version, now).as_str();
    json!({
        "clusterType": CLUSTER_TYPE,
        "clusterVersion": version.name,
        "defaultPlatformVersion": version.platform_version,
        "defaultVersion": version.name == DEFAULT,
        "endOfExtendedSupportDate": version.end_of_extended_support.seconds(),
        "endOfStandardSupportDate": version.end_of_standard_support.seconds(),
        "kubernetesPatchVersion": version.patch,
        "releaseDate": version.release_date.seconds(),
        "status": status,
        "versionStatus": status,
    })
}

/// The inputs of `DescribeClusterVersions` that choose versions. All that are given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    /// Only this type; everything but `eks` yields nothing.
    cluster_type: Option<String>,
    /// Only these; empty is no restriction. Names that no row has yield nothing.
    cluster_versions: Option<Vec<String>>,
    /// Only the default.
    default_only: Option<bool>,
    /// Unsupported ones too.
    include_all: Option<bool>,
    /// The older form of `version_status`.
    status: Option<String>,
    /// Only those of this status; asking for unsupported ones includes them.
    version_status: Option<String>,
}

impl Filter {
    fn admits(&self, version: &Version, now: Timestamp) -> bool {
        let status = status_at(version, now);
        let asked: Vec<&String> = [&self.status, &self.version_status].into_iter().flatten().collect();
        let listed = self.include_all == Some(true) || status != Support::Unsupported || !asked.is_empty();
        let named = match self.cluster_versions.as_deref() {
            None | Some([]) => true,
            Some(names) => names.iter().any(|name| name == version.name),
        };
        listed
            && named
            && asked.iter().all(|text| Support::parse(text) == Some(status))
            && self.cluster_type.as_deref().is_none_or(|kind| kind == CLUSTER_TYPE)
            && (self.default_only != Some(true) || version.name == DEFAULT)
    }
}

/// The versions that a call of `DescribeClusterVersions` lists, newest first as AWS does. Unsupported ones only when asked for.
fn select(filter: &Filter, now: Timestamp) -> impl Iterator<Item = &'static Version> {
    VERSIONS.iter().rev().filter(move |version| filter.admits(version, now))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let filter: Filter = cloud_iam::decode_input(call.input)?;
    // Pages are in the order of keys, and the newest comes first.
    let key = |version: &Version| format!("{:010}", u32::MAX - version.minor());
    let items = select(&filter, call.ctx.now).map(|version| (key(version), show(version, call.ctx.now))).collect();
    paged(call.input, items, "clusterVersions")
}

/// Midnight UTC of a day of the Gregorian calendar from 1970 on.
const fn day(year: i64, month: i64, day: i64) -> Timestamp {
    // Years are counted from March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    // Days from 0000-03-01 to 1970-01-01.
    Timestamp::from_seconds((days - 719_468) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: &str) -> Timestamp {
        Timestamp::parse(&format!("{date}T00:00:00Z")).expect("test date")
    }

    #[test]
    fn rows_are_ascending_and_consistent() {
        for pair in VERSIONS.windows(2) {
            assert_eq!(pair[0].minor() + 1, pair[1].minor());
        }
        for version in VERSIONS {
            assert!(version.release_date < version.end_of_standard_support, "{}", version.name);
            assert!(version.end_of_standard_support < version.end_of_extended_support, "{}", version.name);
            assert!(version.patch.starts_with(&format!("{}.", version.name)), "{}", version.name);
            let build = version.platform_version.strip_prefix("eks.").expect(version.name);
            assert!(build.parse::<u32>().is_ok(), "{}", version.name);
        }
        let served: Vec<&str> = VERSIONS.iter().filter(|v| v.served).map(|v| v.name).collect();
        assert_eq!(served, ["1.33", "1.34", "1.35", "1.36"]);
        assert!(default().served);
        assert_eq!(default().name, "1.35");
        assert_eq!(git_version("1.35").as_deref(), Some("v1.35.2-eks-4d696e6"));
        assert_eq!(git_version("1.29"), None);
        assert_eq!(find("1.29"), None);
        assert_eq!(find("1.35.2"), None);
    }

    #[test]
    fn days_are_the_calendar_s() {
        let cases =
            [(1970, 1, 1), (1999, 12, 31), (2000, 2, 29), (2024, 2, 29), (2024, 3, 1), (2026, 1, 28), (2100, 3, 1)];
        for (year, month, number) in cases {
            assert_eq!(day(year, month, number), at(&format!("{year:04}-{month:02}-{number:02}")));
        }
    }

    #[test]
    fn status_follows_the_dates_of_served_versions_only() {
        use Support::{ExtendedSupport, StandardSupport, Unsupported};
        let cases = [
            ("1.35", "2020-01-01", StandardSupport, StandardSupport),
            ("1.35", "2026-11-20", StandardSupport, StandardSupport),
            ("1.35", "2027-03-26", StandardSupport, StandardSupport),
            ("1.35", "2027-03-27", ExtendedSupport, ExtendedSupport),
            ("1.35", "2028-03-27", Unsupported, Unsupported),
            ("1.33", "2026-11-20", ExtendedSupport, ExtendedSupport),
            ("1.32", "2026-11-20", ExtendedSupport, Unsupported),
            ("1.30", "2026-11-20", Unsupported, Unsupported),
            ("1.31", "2025-01-01", StandardSupport, Unsupported),
        ];
        for (name, date, by_date, said) in cases {
            let version = find(name).expect(name);
            assert_eq!(support_by_date(version, at(date)), by_date, "{name} {date}");
            assert_eq!(status_at(version, at(date)), said, "{name} {date}");
            assert_eq!(supported(name, at(date)).is_some(), said != Unsupported, "{name} {date}");
        }
    }

    #[test]
    fn an_item_has_the_shape_of_the_api() {
        let item = show(default(), at("2026-11-20"));
        let expected = json!({
            "clusterVersion": "1.35", "clusterType": "eks", "defaultPlatformVersion": "eks.9", "defaultVersion": true,
            "releaseDate": 1_769_558_400, "endOfStandardSupportDate": 1_806_105_600, "endOfExtendedSupportDate": 1_837_728_000,
            "status": "STANDARD_SUPPORT", "versionStatus": "STANDARD_SUPPORT", "kubernetesPatchVersion": "1.35.2",
        });
        assert_eq!(item, expected);
        assert_eq!(show(find("1.32").expect("row"), at("2026-11-20"))["status"], "UNSUPPORTED");
        assert_eq!(show(find("1.36").expect("row"), at("2026-11-20"))["defaultVersion"], false);
    }

    #[test]
    fn inputs_choose_versions() {
        let cases: &[(Value, &[&str])] = &[
            (json!({}), &["1.36", "1.35", "1.34", "1.33"]),
            (json!({"clusterVersions": []}), &["1.36", "1.35", "1.34", "1.33"]),
            (json!({"includeAll": true}), &["1.36", "1.35", "1.34", "1.33", "1.32", "1.31", "1.30"]),
            (json!({"defaultOnly": true}), &["1.35"]),
            (
                json!({"defaultOnly": false, "clusterType": "eks", "clusterVersions": ["1.33", "1.36"]}),
                &["1.36", "1.33"],
            ),
            (json!({"clusterVersions": ["1.31"]}), &[]),
            (json!({"clusterVersions": ["1.31"], "includeAll": true}), &["1.31"]),
            (json!({"clusterVersions": ["9.99"], "includeAll": true}), &[]),
            (json!({"clusterType": "eks-local-outposts"}), &[]),
            (json!({"versionStatus": "STANDARD_SUPPORT"}), &["1.36", "1.35", "1.34"]),
            (json!({"status": "extended-support"}), &["1.33"]),
            (json!({"versionStatus": "UNSUPPORTED"}), &["1.32", "1.31", "1.30"]),
            (json!({"versionStatus": "UNSUPPORTED", "status": "standard-support"}), &[]),
            (json!({"versionStatus": "RETIRED"}), &[]),
        ];
        for (input, expected) in cases {
            let filter: Filter = serde_json::from_value(input.clone()).expect("input");
            let names: Vec<&str> = select(&filter, at("2026-11-20")).map(|version| version.name).collect();
            assert_eq!(&names, expected, "{input}");
        }
    }
}
