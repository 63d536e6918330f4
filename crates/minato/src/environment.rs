//! `minato env`: the variables that point AWS and Kubernetes tools at the region.

use std::path::Path;

use crate::cli::Shell;
use crate::etcd;
use crate::home::{Home, RegionFile};

/// Name and value of each variable.
pub fn variables(home: &Home, region: &RegionFile) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("AWS_ENDPOINT_URL", region.endpoint.clone()),
        ("AWS_REGION", region.region.clone()),
        ("AWS_DEFAULT_REGION", region.region.clone()),
        ("AWS_ACCESS_KEY_ID", region.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", region.secret_access_key.clone()),
        ("KUBECONFIG", home.kubeconfig().display().to_string()),
        ("MINATO_HOME", home.path().display().to_string()),
    ];
    if let Some(endpoint) = &region.etcd {
        let file = |name| home.etcd().join(name).display().to_string();
        variables.extend([
            ("ETCDCTL_API", "3".to_owned()),
            ("ETCDCTL_ENDPOINTS", endpoint.clone()),
            ("ETCDCTL_CACERT", file(etcd::AUTHORITY)),
            ("ETCDCTL_CERT", file(etcd::CERTIFICATE)),
            ("ETCDCTL_KEY", file(etcd::KEY)),
        ]);
    }
    variables
}

/// Variables of an earlier session that would win over the ones above.
const STALE: [&str; 2] = ["AWS_SESSION_TOKEN", "AWS_PROFILE"];

/// The text for a shell. `directory` holds the minato binary and goes to the front of PATH.
pub fn render(shell: Shell, variables: &[(&str, String)], directory: Option<&Path>) -> String {
    let mut text = String::new();
    let path = directory.map(|directory| directory.display().to_string());
    let mut line = |parts: &[&str]| {
        text.push_str(&parts.concat());
        text.push('\n');
    };
    match shell {
        Shell::Sh => {
            for (name, value) in variables {
                line(&["export ", name, "=", &single_quoted(value, r"'\''")]);
            }
            line(&["unset ", &STALE.join(" ")]);
            if let Some(path) = &path {
                let quoted = single_quoted(path, r"'\''");
                line(&["case \":$PATH:\" in *:", &quoted, ":*) ;; *) export PATH=", &quoted, ":\"$PATH\" ;; esac"]);
            }
        }
        Shell::Fish => {
            for (name, value) in variables {
                line(&["set -gx ", name, " ", &single_quoted(value, r"\'")]);
            }
            line(&["set -e ", &STALE.join(" ")]);
            if let Some(path) = &path {
                line(&["fish_add_path --path ", &single_quoted(path, r"\'")]);
            }
        }
        Shell::Powershell => {
            for (name, value) in variables {
                line(&["$Env:", name, " = ", &single_quoted(value, "''")]);
            }
            for name in STALE {
                line(&["$Env:", name, " = $null"]);
            }
            if let Some(path) = &path {
                line(&["$Env:PATH = ", &single_quoted(path, "''"), " + [IO.Path]::PathSeparator + $Env:PATH"]);
            }
        }
        Shell::Dotenv => {
            for (name, value) in variables {
                line(&[name, "=", value]);
            }
        }
    }
    text
}

fn single_quoted(value: &str, quote: &str) -> String {
    format!("'{}'", value.replace('\'', quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_quoted_its_own_way() {
        let variables = [("A", "it's".to_owned())];
        let bin = Some(Path::new("/opt/bin"));
        for (shell, first) in [
            (Shell::Sh, r"export A='it'\''s'"),
            (Shell::Fish, r"set -gx A 'it\'s'"),
            (Shell::Powershell, "$Env:A = 'it''s'"),
            (Shell::Dotenv, "A=it's"),
        ] {
            assert_eq!(render(shell, &variables, bin).lines().next(), Some(first));
        }
    }

    #[test]
    fn a_shell_reads_it_and_the_path_grows_once() {
        let variables = [("A", "a b'c$d".to_owned())];
        let text = render(Shell::Sh, &variables, Some(Path::new("/opt/x y")));
        let script = format!("PATH=/bin:/usr/bin\n{text}{text}printf '%s|%s' \"$A\" \"$PATH\"");
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b'c$d|/opt/x y:/bin:/usr/bin");
    }
}
