//! What is counted about requests, by the labels that upstream gives them. All metrics of one kind of request are found with one
//! look-up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::series::{About, Bounds, Counter, Family, Gauge, Histogram};
use super::text::Page;

const SECONDS: Bounds = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const SLI_SECONDS: Bounds =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const SIZES: Bounds = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

static REQUESTS: About = About {
    name: "apiserver_request_total",
    help: "[STABLE] Requests answered, by verb, dry run, resource, scope, component and status.",
    labels: &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
};
static DURATION: About = About {
    name: "apiserver_request_duration_seconds",
    help: "[STABLE] Time from the arrival of a request to the end of its answer.",
    labels: &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
};
static SLI: About = About {
    name: "apiserver_request_sli_duration_seconds",
    help: "[ALPHA] As the duration of requests, without the time in queues and in webhooks.",
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component"],
};
static RESPONSE_SIZES: About =
    About { name: "apiserver_response_sizes", help: "[STABLE] Bytes of the answers to reads.", labels: SLI.labels };
static LONG_RUNNING: About = About {
    name: "apiserver_longrunning_requests",
    help: "[STABLE] Long-running requests that are open.",
    labels: SLI.labels,
};
static TERMINATIONS: About = About {
    name: "apiserver_request_terminations_total",
    help: "[ALPHA] Requests that the server ended to protect itself.",
    labels: &["verb", "group", "version", "resource", "subresource", "scope", "component", "code"],
};
static ABORTS: About = About {
    name: "apiserver_request_aborts_total",
    help: "[ALPHA] Requests that were broken off, mostly because they took too long.",
    labels: &["verb", "group", "version", "resource", "subresource", "scope"],
};

/// The statuses that are counted apart; another one counts as the first of its class.
const CODES: [u16; 40] = [
    100, 101, 200, 201, 202, 203, 204, 206, 300, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409,
    410, 411, 412, 413, 414, 415, 422, 428, 429, 431, 499, 500, 501, 502, 503, 504, 505,
];

/// The values of label `dry_run`. Upstream has `invalid` too, for requests that are refused before they are counted here.
const DRY_RUN: [&str; 2] = ["", "All"];

/// Whether a request only asks what would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DryRun {
    #[default]
    No,
    All,
}

/// Labels of a request, in upstream's order without `dry_run`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'a str,
    pub component: &'a str,
}

impl Labels<'_> {
    fn array(&self) -> [&str; 7] {
        [self.verb, self.group, self.version, self.resource, self.subresource, self.scope, self.component]
    }
}

struct Answers {
    codes: [AtomicU64; CODES.len()],
    duration: Histogram,
}

/// All about one kind of request.
pub(crate) struct Series {
    by_dry_run: [OnceLock<Box<Answers>>; DRY_RUN.len()],
    sli: Histogram,
    sizes: OnceLock<Histogram>,
    long_running: OnceLock<Gauge>,
    terminated: [Counter; 2],
    aborted: OnceLock<Counter>,
}

/// The statuses with which the server protects itself, in the order of [`Series::terminated`].
const TERMINATED: [u16; 2] = [429, 504];

fn series() -> Arc<Series> {
    Arc::new(Series {
        by_dry_run: Default::default(),
        sli: Histogram::new(SLI_SECONDS),
        sizes: OnceLock::new(),
        long_running: OnceLock::new(),
        terminated: Default::default(),
        aborted: OnceLock::new(),
    })
}

pub(crate) struct Requests(Family<Arc<Series>>);

impl Default for Requests {
    fn default() -> Requests {
        Requests(Family::new(&SLI, series))
    }
}

impl Requests {
    pub(crate) fn of(&self, labels: &Labels<'_>) -> Arc<Series> {
        self.0.with(&labels.array()).clone()
    }

    pub(crate) fn show(&self, page: &mut Page) {
        self.0.each(|labels, series| series.show(page, labels));
    }
}

impl Series {
    fn answers(&self, dry_run: DryRun) -> &Answers {
        self.by_dry_run[dry_run as usize].get_or_init(|| {
            Box::new(Answers { codes: [const { AtomicU64::new(0) }; CODES.len()], duration: Histogram::new(SECONDS) })
        })
    }

    /// An answer was sent. `waited` is what does not count against the server: queues and webhooks.
    pub(crate) fn answered(&self, dry_run: DryRun, code: u16, took: Duration, waited: Duration) {
        let answers = self.answers(dry_run);
        let at = CODES.binary_search(&code).or_else(|_| CODES.binary_search(&(code / 100 * 100))).unwrap_or(0);
        answers.codes[at].fetch_add(1, Ordering::Relaxed);
        answers.duration.seconds(took);
        self.sli.seconds(took.saturating_sub(waited));
    }

    /// A request was refused before anything looked at it: counted, without a duration.
    pub(crate) fn dropped(&self, dry_run: DryRun) {
        let answers = self.answers(dry_run);
        if let Ok(at) = CODES.binary_search(&429) {
            answers.codes[at].fetch_add(1, Ordering::Relaxed);
        }
        self.terminated[0].inc();
    }

    /// A request took too long.
    pub(crate) fn timed_out(&self) {
        self.terminated[1].inc();
        self.aborted.get_or_init(Counter::default).inc();
    }

    pub(crate) fn size(&self, bytes: u64) {
        self.sizes.get_or_init(|| Histogram::new(SIZES)).observe(bytes as f64);
    }

    pub(crate) fn long_running(&self) -> &Gauge {
        self.long_running.get_or_init(Gauge::default)
    }

    fn show(&self, page: &mut Page, labels: &[(&str, &str)]) {
        for (dry_run, answers) in DRY_RUN.iter().zip(&self.by_dry_run) {
            let Some(answers) = answers.get() else { continue };
            let labels: Vec<_> = labels.iter().copied().chain([("dry_run", *dry_run)]).collect();
            let (below, count, sum) = answers.duration.read();
            if count > 0 {
                page.histogram(&DURATION, &labels, &below, count, sum);
            }
            for (code, count) in CODES.iter().zip(&answers.codes) {
                let (code, count) = (code.to_string(), count.load(Ordering::Relaxed));
                if count > 0 {
                    let labels: Vec<_> = labels.iter().copied().chain([("code", code.as_str())]).collect();
                    page.sample(&REQUESTS, "counter", &labels, count as f64);
                }
            }
        }
        let (below, count, sum) = self.sli.read();
        if count > 0 {
            page.histogram(&SLI, labels, &below, count, sum);
        }
        if let Some(sizes) = self.sizes.get() {
            let (below, count, sum) = sizes.read();
            page.histogram(&RESPONSE_SIZES, labels, &below, count, sum);
        }
        if let Some(open) = self.long_running.get() {
            page.sample(&LONG_RUNNING, "gauge", labels, open.get() as f64);
        }
        for (code, count) in TERMINATED.iter().zip(&self.terminated) {
            let code = code.to_string();
            if count.get() > 0 {
                let labels: Vec<_> = labels.iter().copied().chain([("code", code.as_str())]).collect();
                page.sample(&TERMINATIONS, "counter", &labels, count.get() as f64);
            }
        }
        if let Some(aborted) = self.aborted.get() {
            let labels: Vec<_> = labels.iter().copied().filter(|(name, _)| *name != "component").collect();
            page.sample(&ABORTS, "counter", &labels, aborted.get() as f64);
        }
    }
}

/// The most requests at a time within a second: what a scrape would miss.
#[derive(Default)]
pub(crate) struct Watermark {
    current: AtomicU64,
    /// The second in the upper half, the most in it in the lower.
    most: AtomicU64,
}

impl Watermark {
    pub(crate) fn enter(&self, now: Duration) {
        let current = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        let second = now.as_secs() << 32;
        // Of two that come at once, the one with more or with the later second stays.
        self.most.fetch_max(second | current.min(u64::from(u32::MAX)), Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.current.fetch_sub(1, Ordering::Relaxed);
    }

    /// The most at a time in this second or the last.
    pub(crate) fn read(&self, now: Duration) -> u64 {
        let (most, current) = (self.most.load(Ordering::Relaxed), self.current.load(Ordering::Relaxed));
        if most >> 32 >= now.as_secs().saturating_sub(1) { (most & u64::from(u32::MAX)).max(current) } else { current }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_holds_for_a_second() {
        let (mark, at) = (Watermark::default(), Duration::from_secs);
        mark.enter(at(1));
        mark.enter(at(1));
        mark.leave();
        mark.leave();
        assert_eq!((mark.read(at(1)), mark.read(at(2)), mark.read(at(3))), (2, 2, 0));
        mark.enter(at(4));
        assert_eq!((mark.read(at(4)), mark.read(at(9))), (1, 1));
    }

    #[test]
    fn what_was_answered_is_told_by_label() {
        let requests = Requests::default();
        let labels = Labels {
            verb: "LIST",
            group: "apps",
            version: "v1",
            resource: "deployments",
            subresource: "",
            scope: "namespace",
            component: "apiserver",
        };
        let series = requests.of(&labels);
        series.answered(DryRun::No, 200, Duration::from_millis(30), Duration::ZERO);
        series.answered(DryRun::All, 418, Duration::from_millis(3), Duration::ZERO);
        series.size(12_000);
        series.long_running().add(1);
        series.dropped(DryRun::No);
        let mut page = Page::default();
        requests.show(&mut page);
        let text = page.text();
        let place = r#"group="apps",resource="deployments",scope="namespace",subresource="",verb="LIST",version="v1""#;
        for expected in [
            format!(r#"apiserver_request_total{{code="200",component="apiserver",dry_run="",{place}}} 1"#),
            format!(r#"apiserver_request_total{{code="400",component="apiserver",dry_run="All",{place}}} 1"#),
            format!(r#"apiserver_request_total{{code="429",component="apiserver",dry_run="",{place}}} 1"#),
            format!(
                r#"apiserver_request_duration_seconds_bucket{{component="apiserver",dry_run="",{place},le="0.05"}} 1"#
            ),
            format!(r#"apiserver_response_sizes_sum{{component="apiserver",{place}}} 12000"#),
            format!(r#"apiserver_longrunning_requests{{component="apiserver",{place}}} 1"#),
            format!(r#"apiserver_request_terminations_total{{code="429",component="apiserver",{place}}} 1"#),
        ] {
            assert!(text.contains(&expected), "{expected}\nin\n{text}");
        }
    }
}
