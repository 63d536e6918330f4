//! Compares the licences of everything we link with the list in deny.toml, and the banned crates with what is linked.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// `cargo xtask licences`
pub fn run(_: &[String]) -> Result<()> {
    let policy = std::fs::read_to_string("deny.toml").context("reading deny.toml; run this from the workspace root")?;
    let allowed = quoted(section(&policy, "allow = [")?);
    let banned = quoted(section(&policy, "deny = [")?);
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--edges", "all", "--prefix", "none", "--format", "{p}|{l}"])
        .output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<(&str, &str)> =
        tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|')).collect();
    let mut problems = Vec::new();
    for (package, licence) in &packages {
        let name = package.split(' ').next().unwrap_or_default();
        if !is_allowed(licence, &allowed) {
            problems.push(format!("{name} is licensed {licence:?}"));
        }
        if banned.iter().any(|own| own == name) {
            problems.push(format!("{name} is banned"));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    println!("licences: {} packages, all allowed", packages.len());
    Ok(())
}

fn section<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let from = text.find(start).with_context(|| format!("deny.toml has {start:?}"))? + start.len();
    let end = text[from..].find(']').context("the list in deny.toml ends")?;
    Ok(&text[from..from + end])
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a licence expression can be met: one side of an OR, all sides of an AND.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.trim();
    if let Some(inner) = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
        && !inner.contains(['(', ')'])
    {
        return is_allowed(inner, allowed);
    }
    for (operator, all) in [(" AND ", true), (" OR ", false), ("/", false)] {
        let parts = split_outside_parentheses(expression, operator);
        if parts.len() > 1 {
            let mut met = parts.iter().map(|part| is_allowed(part, allowed));
            return if all { met.all(|met| met) } else { met.any(|met| met) };
        }
    }
    allowed.iter().any(|own| own == expression)
}

fn split_outside_parentheses<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut from) = (Vec::new(), 0, 0);
    while let Some(at) = text[from..].find(separator).map(|at| at + from) {
        let depth = text[..at].matches('(').count() - text[..at].matches(')').count();
        if depth == 0 {
            parts.push(&text[start..at]);
            start = at + separator.len();
        }
        from = at + separator.len();
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated() {
        let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0".to_owned()];
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("ISC AND (Apache-2.0 OR ISC)", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
            ("MIT/Apache-2.0", true),
            ("none", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }
}
