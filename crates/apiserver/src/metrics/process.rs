//! What the operating system says about this process, in the names of Prometheus' clients. All clusters of a region share it.

use super::series::About;
use super::text::Page;

/// Clock ticks a second in `/proc` (`USER_HZ`, the same on every Linux).
const TICKS: f64 = 100.0;
/// Bytes of a page of memory where nothing else is known.
const PAGE_BYTES: f64 = 4096.0;

static CPU: About = About {
    name: "process_cpu_seconds_total",
    help: "Seconds of processor time that the process has used.",
    labels: &[],
};
static OPEN_FDS: About =
    About { name: "process_open_fds", help: "File descriptors that the process has open.", labels: &[] };
static MAX_FDS: About =
    About { name: "process_max_fds", help: "File descriptors that the process may have open.", labels: &[] };
static RESIDENT: About =
    About { name: "process_resident_memory_bytes", help: "Bytes of memory that the process has.", labels: &[] };
static VIRTUAL: About =
    About { name: "process_virtual_memory_bytes", help: "Bytes of address space that the process has.", labels: &[] };
pub(super) static START: About =
    About { name: "process_start_time_seconds", help: "When the process began, in seconds since 1970.", labels: &[] };

/// Adds what is known; nothing where there is no `/proc`.
pub(super) fn show(page: &mut Page) {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        show_stat(page, &stat);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is read.
        page.sample(&OPEN_FDS, "gauge", &[], open.count().saturating_sub(1) as f64);
    }
    if let Ok(limits) = std::fs::read_to_string("/proc/self/limits") {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        if let Some(limit) = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()) {
            page.sample(&MAX_FDS, "gauge", &[], limit);
        }
    }
}

fn show_stat(page: &mut Page, stat: &str) {
    // The name of the program comes second, in parentheses, and may have spaces.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<f64> = rest.split(' ').map(|field| field.trim().parse().unwrap_or(0.0)).collect();
    // `state` is field 3 of proc(5).
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    page.sample(&CPU, "counter", &[], (field(14) + field(15)) / TICKS);
    page.sample(&VIRTUAL, "gauge", &[], field(23));
    page.sample(&RESIDENT, "gauge", &[], field(24) * PAGE_BYTES);
    let booted = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    if let Some(booted) = booted.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok()) {
        page.sample(&START, "gauge", &[], booted + field(22) / TICKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_is_no_field() {
        let mut page = Page::default();
        show_stat(
            &mut page,
            "42 (a) b) S 1 1 1 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 700 1048576 256 18446744073709551615\n",
        );
        let text = page.text();
        for line in ["process_cpu_seconds_total 2", "process_virtual_memory_bytes 1.048576e+06"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("process_resident_memory_bytes 1.048576e+06"), "{text}");
    }
}
