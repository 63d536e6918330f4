//! Prometheus' text format, version 0.0.4: families by name, series by labels, numbers as Go writes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::series::About;

/// A page of metrics while it is written.
#[derive(Default)]
pub(crate) struct Page {
    families: BTreeMap<&'static str, Group>,
}

struct Group {
    help: &'static str,
    kind: &'static str,
    /// The lines of each series, by its labels.
    series: BTreeMap<String, String>,
}

impl Page {
    pub(crate) fn sample(&mut self, about: &'static About, kind: &'static str, labels: &[(&str, &str)], value: f64) {
        let key = joined(labels);
        let line = line(about.name, "", &key, &number(value));
        self.group(about, kind).series.insert(key, line);
    }

    pub(crate) fn histogram(
        &mut self,
        about: &'static About,
        labels: &[(&str, &str)],
        below: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let key = joined(labels);
        let mut lines = String::new();
        let bounds = below.iter().map(|(bound, seen)| (number(*bound), *seen));
        for (bound, seen) in bounds.chain([("+Inf".to_owned(), count)]) {
            // `le` comes last, as clients of Prometheus write it.
            let separator = if key.is_empty() { "" } else { "," };
            let _ = writeln!(lines, "{}_bucket{{{key}{separator}le=\"{bound}\"}} {seen}", about.name);
        }
        lines += &line(about.name, "_sum", &key, &number(sum));
        lines += &line(about.name, "_count", &key, &count.to_string());
        self.group(about, "histogram").series.insert(key, lines);
    }

    fn group(&mut self, about: &'static About, kind: &'static str) -> &mut Group {
        self.families.entry(about.name).or_insert_with(|| Group { help: about.help, kind, series: BTreeMap::new() })
    }

    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        for (name, Group { help, kind, series }) in self.families {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            text.extend(series.into_values());
        }
        text
    }
}

fn line(name: &str, suffix: &str, labels: &str, value: &str) -> String {
    if labels.is_empty() {
        format!("{name}{suffix} {value}\n")
    } else {
        format!("{name}{suffix}{{{labels}}} {value}\n")
    }
}

/// Labels in the order of their names.
fn joined(labels: &[(&str, &str)]) -> String {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    let mut text = String::new();
    for (name, value) in sorted {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// A number as Go's `strconv.FormatFloat(value, 'g', -1, 64)` writes it: with an exponent below 1e-4 and from a million on.
pub(crate) fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 || value.is_nan() {
        return if value.is_nan() { "NaN" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::series::{Histogram, Show};

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.005, "0.005"),
            (1.25, "1.25"),
            (-3.0, "-3"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e9, "1e+09"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_page_is_in_order_and_escaped() {
        static LATER: About = About { name: "z_total", help: "Z.", labels: &["b", "a"] };
        static FIRST: About = About { name: "a_seconds", help: "A.", labels: &[] };
        let mut page = Page::default();
        page.sample(&LATER, "counter", &[("b", "2"), ("a", "x\"y\\\n")], 2.0);
        page.sample(&LATER, "counter", &[("b", "1"), ("a", "w")], 1.0);
        let histogram = Histogram::new(&[0.5]);
        histogram.observe(0.25);
        histogram.observe(1.0);
        histogram.show(&mut page, &FIRST, &[]);
        let expected = "\
# HELP a_seconds A.
# TYPE a_seconds histogram
a_seconds_bucket{le=\"0.5\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
a_seconds_sum 1.25
a_seconds_count 2
# HELP z_total Z.
# TYPE z_total counter
z_total{a=\"w\",b=\"1\"} 1
z_total{a=\"x\\\"y\\\\\\n\",b=\"2\"} 2
";
        assert_eq!(page.text(), expected);
    }
}
