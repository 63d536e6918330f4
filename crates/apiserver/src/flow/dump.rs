//! What the queues hold, as tables for those who look for the cause of a delay (`/debug/api_priority_and_fairness/…`).

use std::time::Duration;

use super::queues::{Applicant, QueueSet, seat_seconds};
use super::{Flow, Level};
use crate::core::Core;
use crate::http::{PathRoute, parse_path};

const LEVELS: &[&str] = &[
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: &[&str] = &[
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: &[&str] = &[
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: &[&str] = &["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

impl Flow {
    /// The table with this name; `None` for one that there is not.
    pub(crate) fn dump(&self, core: &Core, table: &str, details: bool) -> Option<String> {
        let snapshot = self.snapshot(core);
        let levels = snapshot.levels.values();
        let rows = match table {
            "dump_priority_levels" => levels.map(|level| level_row(level)).collect(),
            "dump_queues" => levels.flat_map(|level| queue_rows(level)).collect(),
            "dump_requests" => levels.flat_map(|level| self.request_rows(level, details)).collect(),
            _ => return None,
        };
        let header = match table {
            "dump_priority_levels" => LEVELS.to_vec(),
            "dump_queues" => QUEUES.to_vec(),
            _ if details => [REQUESTS, DETAILS].concat(),
            _ => REQUESTS.to_vec(),
        };
        Some(aligned(&header, rows))
    }

    fn request_rows(&self, level: &Level, details: bool) -> Vec<Vec<String>> {
        let queues = level.shared.queues();
        let mut rows = Vec::new();
        for (at, queue) in queues.queues.iter().enumerate() {
            for (place, waiting) in queue.waiting.iter().enumerate() {
                let times = (waiting.arrived, None);
                rows.push(self.request_row(level, (at as i64, place as i64), &waiting.applicant, times, details));
            }
        }
        for running in queues.running.values() {
            let at = running.queue.map_or(-1, |at| at as i64);
            let times = (running.arrived, Some(running.started));
            rows.push(self.request_row(level, (at, -1), &running.applicant, times, details));
        }
        rows
    }

    fn request_row(
        &self,
        level: &Level,
        place: (i64, i64),
        applicant: &Applicant,
        (arrived, started): (Duration, Option<Duration>),
        details: bool,
    ) -> Vec<String> {
        let time = |at: Duration| (self.world.now() - self.world.elapsed().saturating_sub(at)).to_micro_string();
        let method = http::Method::GET;
        let uri = &applicant.uri;
        let route = parse_path(&method, uri.path(), uri.query().unwrap_or(""), "", false).ok();
        let request = match &route {
            Some(PathRoute::Resource(route)) => Some(&route.request),
            _ => None,
        };
        let text = |read: fn(&k8s_client::Request) -> String| request.map(read).unwrap_or_default();
        let flow = match applicant.schema.distinguisher {
            None => String::new(),
            Some(super::config::Distinguisher::ByUser) => applicant.user.username.clone(),
            Some(super::config::Distinguisher::ByNamespace) => text(|request| request.namespace.clone()),
        };
        let mut row = vec![
            level.spec.name.clone(),
            applicant.schema.name.clone(),
            place.0.to_string(),
            place.1.to_string(),
            flow,
            time(arrived),
            applicant.work.initial_seats.to_string(),
            applicant.work.final_seats.to_string(),
            go_duration(applicant.work.additional),
            started.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        ];
        if details {
            row.extend([
                applicant.user.username.clone(),
                applicant.verb.to_owned(),
                uri.path().to_owned(),
                text(|request| request.namespace.clone()),
                text(|request| request.name.clone()),
                text(|request| match request.resource.group.is_empty() {
                    true => request.resource.version.to_string(),
                    false => format!("{}/{}", request.resource.group, request.resource.version),
                }),
                text(|request| request.resource.resource.to_string()),
                text(|request| request.subresource.clone()),
            ]);
        }
        row
    }
}

fn level_row(level: &Level) -> Vec<String> {
    let queues = level.shared.queues();
    let QueueSet { waiting, running, dispatched, rejected, cancelled, .. } = &*queues;
    let active = queues.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
    vec![
        level.spec.name.clone(),
        active.to_string(),
        queues.is_idle().to_string(),
        level.quiescing.to_string(),
        waiting.to_string(),
        running.len().to_string(),
        dispatched.to_string(),
        rejected.to_string(),
        // Upstream has this column and counts those who gave up in the next one.
        "0".to_owned(),
        cancelled.to_string(),
    ]
}

fn queue_rows(level: &Level) -> Vec<Vec<String>> {
    let queues = level.shared.queues();
    let work = |time| format!("{:.8}ss", seat_seconds(time));
    let row = |(at, queue): (usize, &super::queues::Queue)| {
        vec![
            level.spec.name.clone(),
            at.to_string(),
            queue.waiting.len().to_string(),
            queue.executing.to_string(),
            queue.seats_in_use.to_string(),
            work(queue.next),
            queue.initial_seats_waiting.to_string(),
            queue.seats_waiting.to_string(),
            work(queue.work_waiting),
        ]
    };
    queues.queues.iter().enumerate().map(row).collect()
}

/// Columns as Go's `tabwriter` aligns them, with eight places at least.
fn aligned(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|column| (*column).to_owned()).collect();
    let rows: Vec<Vec<String>> = [header].into_iter().chain(rows).collect();
    let columns = rows[0].len();
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        // The comma, and one space between columns.
        (widest.unwrap_or(0) + 2).max(8)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 == columns {
                true => text += cell,
                false => text += &format!("{:<1$}", format!("{cell},"), widths[column]),
            }
        }
        text.push('\n');
    }
    text
}

/// As Go prints a duration below a second.
fn go_duration(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match time.as_nanos() {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", nanos / 1e3),
        1_000_000..1_000_000_000 => format!("{}ms", nanos / 1e6),
        _ => format!("{}s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = vec![vec!["long-name-of-a-level".to_owned(), "1".to_owned(), "x".to_owned()]];
        let expected = "\
Name,                 B,      C
long-name-of-a-level, 1,      x
";
        assert_eq!(aligned(&["Name", "B", "C"], rows), expected);
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases = [(0, "0s"), (5_000_000, "5ms"), (7_500_000, "7.5ms"), (1_500_000_000, "1.5s"), (20_000, "20µs")];
        for (nanos, expected) in cases {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), expected);
        }
    }
}
