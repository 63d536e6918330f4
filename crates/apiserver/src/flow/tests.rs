//! Queues in virtual time: fairness among flows, isolation of levels, limits, and seats that are lent.

use std::sync::Mutex as StdMutex;

use world::Simulation;

use super::config::Schema;
use super::*;

const ASKED: Asked<'static> = Asked {
    user: &NOBODY,
    verb: "get",
    is_resource: false,
    group: "",
    resource: "",
    subresource: "",
    namespace: "",
    path: "/x",
};
static NOBODY: UserInfo =
    UserInfo { username: String::new(), uid: String::new(), groups: Vec::new(), extra: BTreeMap::new() };

fn level(name: &str, shares: f64, response: Response) -> LevelSpec {
    LevelSpec { name: name.to_owned(), shares, response, ..LevelSpec::mandatory(CATCH_ALL) }
}

fn queue(queues: usize, hand: usize, length: usize) -> Response {
    Response::Queue { queues, hand, length }
}

fn applicant(schema: &Arc<Schema>, flow: &str, seats: usize) -> Applicant {
    Applicant {
        schema: schema.clone(),
        work: queues::Work { initial_seats: seats, ..estimate::ONE },
        hash: flow_hash(&schema.name, flow),
        user: Arc::new(NOBODY.clone()),
        verb: "get",
        uri: Uri::from_static("/x"),
    }
}

/// A server of so many seats with these levels.
fn server(seats: usize, levels: Vec<LevelSpec>) -> (World, Simulation, Arc<Flow>) {
    let (world, simulation) = World::simulated(1);
    let flow = Flow::with_seats(&world, &world.tasks("flow"), seats);
    flow.digest(Vec::new(), levels);
    (world, simulation, flow)
}

/// As [`Flow::enter`], without a classification.
fn enter(flow: &Arc<Flow>, level: &str, applicant: Applicant, patience: Duration) -> Place {
    let (schema, now) = (applicant.schema.clone(), flow.world.elapsed());
    let shared = flow.current().levels[level].shared.clone();
    let answer = shared.queues().start(applicant, now);
    let seat =
        |id| Seat { flow: flow.clone(), schema: schema.clone(), shared: shared.clone(), id, watch: false, began: None };
    match answer {
        Answer::Run(id) => {
            let mut seat = seat(id);
            seat.begin(now, Duration::ZERO, false);
            Place::Seat(seat)
        }
        Answer::Wait(id, promise) => Place::Queue(InQueue { seat: seat(id), promise, since: now, patience }),
        Answer::Rejected(_) => Place::None,
    }
}

/// Sends `requests` at once, each of a flow and lasting a while; returns flows in the order in which they were done, and how many
/// were turned away.
fn run(
    flow: &Arc<Flow>,
    simulation: &mut Simulation,
    level: &'static str,
    requests: &[(&'static str, u64)],
) -> (Vec<&'static str>, usize) {
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let done: Arc<StdMutex<(Vec<&'static str>, usize)>> = Arc::default();
    let (world, tasks) = (flow.world.clone(), flow.world.tasks("clients"));
    let mut waiting = Vec::new();
    for (name, millis) in requests {
        let place = enter(flow, level, applicant(&schema, name, 1), Duration::from_secs(60));
        waiting.push((*name, *millis, place));
    }
    for (name, millis, place) in waiting {
        let (world, done) = (world.clone(), done.clone());
        tasks.spawn("client", async move {
            let seat = match place {
                Place::Seat(seat) => Some(seat),
                Place::Queue(queue) => queue.wait().await,
                Place::None => None,
            };
            let Some(seat) = seat else {
                done.lock().unwrap().1 += 1;
                return;
            };
            world.sleep(Duration::from_millis(millis)).await;
            done.lock().unwrap().0.push(name);
            drop(seat);
        });
    }
    while !tasks.is_empty() {
        simulation.block_on(world.sleep(Duration::from_millis(100)));
    }
    let mut done = done.lock().unwrap();
    std::mem::take(&mut *done)
}

#[test]
fn a_flow_of_many_does_not_starve_one_of_few() {
    let (_, mut simulation, flow) =
        server(2, vec![level("a", 100.0, queue(64, 4, 200)), level(CATCH_ALL, 0.0, Response::Reject)]);
    let mut requests = vec![("elephant", 10); 100];
    requests.extend([("mouse", 10); 5]);
    let (done, rejected) = run(&flow, &mut simulation, "a", &requests);
    assert_eq!((done.len(), rejected), (105, 0));
    let last = done.iter().rposition(|name| *name == "mouse").unwrap();
    assert!(last < 25, "the last mouse came after {last} others, though it was its turn every second time");
}

#[test]
fn a_flow_of_long_requests_gets_as_much_time_and_not_as_many() {
    let (_, mut simulation, flow) =
        server(1, vec![level("a", 100.0, queue(64, 4, 200)), level(CATCH_ALL, 0.0, Response::Reject)]);
    let mut requests = vec![("slow", 100); 20];
    requests.extend([("quick", 10); 100]);
    let (done, _) = run(&flow, &mut simulation, "a", &requests);
    // While both have work, ten quick ones go for one slow one.
    let slow = done[..55].iter().filter(|name| **name == "slow").count();
    assert!((3..=9).contains(&slow), "{slow} slow ones of the first 55");
}

#[test]
fn levels_do_not_take_from_each_other() {
    let (world, mut simulation, flow) = server(
        10,
        vec![
            level("a", 50.0, queue(8, 2, 100)),
            level("b", 50.0, Response::Reject),
            level(CATCH_ALL, 0.0, Response::Reject),
        ],
    );
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let hold: Vec<Place> = (0..40).map(|_| enter(&flow, "a", applicant(&schema, "x", 1), MAX_WAIT)).collect();
    assert_eq!(hold.iter().filter(|place| matches!(place, Place::Seat(_))).count(), 5);
    let others: Vec<Place> = (0..6).map(|_| enter(&flow, "b", applicant(&schema, "y", 1), MAX_WAIT)).collect();
    assert_eq!(
        others.iter().filter(|place| matches!(place, Place::Seat(_))).count(),
        5,
        "and the sixth is turned away"
    );
    drop(others);
    drop(hold);
    simulation.block_on(world.yield_now());
    let queues = flow.current().levels["a"].shared.clone();
    assert!(queues.queues().is_idle(), "those who went have left their queues");
    assert_eq!(queues.queues().seats_in_use, 0);
}

#[test]
fn a_full_queue_and_a_long_wait_turn_away() {
    let (world, mut simulation, flow) =
        server(1, vec![level("a", 100.0, queue(1, 1, 3)), level(CATCH_ALL, 0.0, Response::Reject)]);
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let patience = Duration::from_secs(15);
    let mut places: Vec<Place> = (0..6).map(|_| enter(&flow, "a", applicant(&schema, "x", 1), patience)).collect();
    let kinds: Vec<u8> = places
        .iter()
        .map(|place| match place {
            Place::Seat(_) => 1,
            Place::Queue(_) => 2,
            Place::None => 0,
        })
        .collect();
    assert_eq!(kinds, [1, 2, 2, 2, 0, 0]);
    let Place::Queue(second) = places.remove(1) else { panic!("the second waits") };
    assert!(simulation.block_on(second.wait()).is_none());
    assert_eq!(world.elapsed(), patience);
    // Its place is free, and the seat goes to the next when the first is done.
    let Place::Queue(third) = places.remove(1) else { panic!("the third waits") };
    drop(places.remove(0));
    assert!(simulation.block_on(third.wait()).is_some());
    assert_eq!(world.elapsed(), patience);
}

#[test]
fn a_wide_request_takes_the_seats_of_many() {
    let (_, _simulation, flow) =
        server(10, vec![level("a", 100.0, queue(4, 1, 10)), level(CATCH_ALL, 0.0, Response::Reject)]);
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let wide = enter(&flow, "a", applicant(&schema, "x", 8), MAX_WAIT);
    let small: Vec<Place> = (0..3).map(|_| enter(&flow, "a", applicant(&schema, "y", 1), MAX_WAIT)).collect();
    assert!(matches!(wide, Place::Seat(_)));
    assert_eq!(small.iter().filter(|place| matches!(place, Place::Seat(_))).count(), 2);
    // One that is wider than all there is runs when nothing else does.
    drop((wide, small));
    assert!(matches!(enter(&flow, "a", applicant(&schema, "z", 50), MAX_WAIT), Place::Seat(_)));
}

#[test]
fn seats_of_a_write_stay_taken_until_its_watchers_are_served() {
    let (world, mut simulation, flow) =
        server(1, vec![level("a", 100.0, queue(1, 1, 3)), level(CATCH_ALL, 0.0, Response::Reject)]);
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let mut write = applicant(&schema, "x", 1);
    write.work.additional = Duration::from_millis(5);
    write.work.final_seats = 1;
    let first = enter(&flow, "a", write, MAX_WAIT);
    let Place::Queue(second) = enter(&flow, "a", applicant(&schema, "x", 1), MAX_WAIT) else { panic!("it waits") };
    drop(first);
    assert!(simulation.block_on(second.wait()).is_some());
    assert_eq!(world.elapsed(), Duration::from_millis(5));
}

#[test]
fn idle_levels_lend_their_seats() {
    let lender = LevelSpec { lendable_percent: 90.0, ..level("idle", 50.0, Response::Reject) };
    let (world, mut simulation, flow) =
        server(100, vec![level("busy", 50.0, queue(8, 2, 200)), lender, level(CATCH_ALL, 0.0, Response::Reject)]);
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let seats = |flow: &Arc<Flow>| flow.current().levels["busy"].shared.queues().limit;
    let places: Vec<Place> = (0..200).map(|_| enter(&flow, "busy", applicant(&schema, "x", 1), MAX_WAIT)).collect();
    assert!(seats(&flow) >= 50);
    simulation.block_on(world.sleep(ADJUST_EVERY));
    flow.adjust(world.elapsed());
    assert_eq!(seats(&flow), 95, "all but what the other level keeps for itself");
    let waiting = flow.current().levels["busy"].shared.queues().waiting;
    assert_eq!(waiting, 200 - 95, "and they are used at once");
    drop(places);
}

#[test]
fn what_must_be_there_is_there_and_what_is_gone_stays_until_it_is_idle() {
    let (_, _simulation, flow) = server(100, vec![level("a", 100.0, Response::Reject)]);
    let names = |flow: &Arc<Flow>| -> Vec<(String, bool)> {
        flow.current().levels.values().map(|level| (level.spec.name.clone(), level.quiescing)).collect()
    };
    let expected = |a: &[(&str, bool)]| -> Vec<(String, bool)> {
        a.iter().map(|(name, quiescing)| ((*name).to_owned(), *quiescing)).collect()
    };
    assert_eq!(names(&flow), expected(&[("a", false), ("catch-all", false), ("exempt", false)]));
    let schema = Arc::new(Schema::mandatory(CATCH_ALL));
    let held = enter(&flow, "a", applicant(&schema, "x", 1), MAX_WAIT);
    flow.digest(Vec::new(), Vec::new());
    assert_eq!(names(&flow), expected(&[("a", true), ("catch-all", false), ("exempt", false)]));
    drop(held);
    flow.digest(Vec::new(), Vec::new());
    assert_eq!(names(&flow), expected(&[("catch-all", false), ("exempt", false)]));
    let schemas: Vec<String> = flow.current().schemas.iter().map(|schema| schema.name.clone()).collect();
    assert_eq!(schemas, ["exempt", "catch-all"]);
    assert!(!flow.current().schemas[0].matches(&ASKED), "nobody is no master");
}

#[test]
fn what_must_always_be_there_is_there_before_any_configuration_was_read() {
    let (world, _simulation) = World::simulated(1);
    let flow = Flow::new(&world, &world.tasks("flow"));
    let snapshot = flow.current();
    for name in [EXEMPT, CATCH_ALL] {
        let schema = snapshot.schemas.iter().find(|schema| schema.name == name).expect(name);
        assert!(snapshot.levels.contains_key(&schema.level), "{name} has its level");
    }
}
