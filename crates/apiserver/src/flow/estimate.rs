//! How wide a request is: seats for lists by what they read, for writes by whom they wake (upstream `flowcontrol/request`).

use std::time::Duration;

use k8s_client::{Request, Verb};

use super::config::Schema;
use super::queues::Work;
use super::watches::Watches;
use crate::core::Core;

/// Objects that one seat of a list stands for, where lists are measured by count (1.33).
const OBJECTS_PER_SEAT: f64 = 100.0;
/// Bytes that one seat of a list stands for, where they are measured by size (from 1.34).
const BYTES_PER_SEAT: f64 = 100_000.0;
/// Bytes that a streamed list takes at most at a time, as upstream assumes.
const MAX_STREAMED_BYTES: usize = 1_000_000;
/// Watchers that one seat stands for, and how long an event occupies it for them: upstream assumes 5 ms, a half for each. Here a
/// thousand watchers take about 5 ms, so a tenth of that is still cautious, and writes that many watch are not held up for
/// work that nobody does.
const WATCHES_PER_SEAT: usize = 10;
const EVENT_TIME: Duration = Duration::from_micros(500);
/// Seats of a write, and of a list by count.
const MAX_SEATS: usize = 10;
/// Seats of a list by size.
const MAX_SIZED_SEATS: usize = 100;

pub(super) const ONE: Work = Work { initial_seats: 1, final_seats: 0, additional: Duration::ZERO };

/// What a request for a resource will occupy. `most` is what the level lets one request have, if it says.
pub(super) fn estimate(
    core: &Core,
    watches: &Watches,
    schema: &Schema,
    most: Option<usize>,
    request: &Request,
    initial_events: bool,
) -> Work {
    let resource = &request.resource;
    match request.verb {
        Verb::List => list(core, most, request),
        Verb::Watch if initial_events => list(core, most, request),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => {
            if resource.resource == "serviceaccounts" && request.subresource == "token" {
                return ONE;
            }
            let count = watches.interested(
                &resource.group,
                &resource.resource,
                &request.namespace,
                &request.name,
                WATCHES_PER_SEAT,
            );
            schema.counts.watches(count);
            if count < WATCHES_PER_SEAT {
                return ONE;
            }
            let seats = count.div_ceil(WATCHES_PER_SEAT);
            let fitting = seats.min(most.unwrap_or(MAX_SEATS).min(MAX_SEATS)).max(1);
            // The same work in fewer seats.
            let additional = EVENT_TIME.mul_f64(seats as f64 / fitting as f64);
            Work { initial_seats: 1, final_seats: fitting, additional }
        }
        _ => ONE,
    }
}

fn list(core: &Core, most: Option<usize>, request: &Request) -> Work {
    let sized = core.minor >= 34;
    let limit = if sized { MAX_SIZED_SEATS } else { MAX_SEATS };
    let most = most.unwrap_or(limit).min(limit).max(1);
    let Some(cache) = core.registry.cache(&request.resource.group, &request.resource.resource) else { return ONE };
    let (count, bytes) = cache.size();
    let options = &request.options;
    let single = !request.name.is_empty();
    let seats = if sized {
        let wanted = if options.limit > 0 { options.limit.min(count) } else { count };
        let objects = if single { 1 } else { wanted };
        let bytes = objects.saturating_mul(bytes.checked_div(count).unwrap_or(0)).min(MAX_STREAMED_BYTES);
        (bytes as f64 / BYTES_PER_SEAT).ceil()
    } else {
        let objects = if single { 1 } else { count };
        (objects as f64 / OBJECTS_PER_SEAT).ceil()
    };
    Work { initial_seats: (seats as usize).clamp(1, most), ..ONE }
}
