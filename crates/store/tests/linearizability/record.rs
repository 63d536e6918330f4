//! Writes down what clients ask and are told. Its clock only orders; one tick is one call or one return.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linear::{Answer, Call, History, Log, Operation, Outcome, Time};

/// Cheap to clone; all clones write the same history.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    now: Time,
    operations: Vec<Operation>,
    /// Operations before this one ended with an earlier life of the store.
    life: usize,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; what is never ended has an unknown outcome.
    pub fn begin(&self, client: usize, call: Call) -> usize {
        let mut recorded = self.lock();
        recorded.now += 1;
        let invoked = recorded.now;
        recorded.operations.push(Operation { client, call, invoked, returned: None, outcome: None });
        recorded.operations.len() - 1
    }

    /// Notes an answer.
    pub fn end(&self, operation: usize, outcome: Outcome) {
        let mut recorded = self.lock();
        recorded.now += 1;
        let now = recorded.now;
        let operation = &mut recorded.operations[operation];
        operation.returned = Some(now);
        operation.outcome = Some(outcome);
    }

    /// Notes a refusal: whatever it was, it has not happened.
    pub fn refuse(&self, operation: usize) {
        self.lock().operations[operation].call = Call::Write { guards: Vec::new(), changes: Vec::new() };
        self.end(operation, Outcome { revision: None, answer: Answer::Written(true) });
    }

    /// Notes that the store has died: what it has not done yet it never will.
    pub fn crash(&self) {
        let mut recorded = self.lock();
        recorded.now += 1;
        let (now, life) = (recorded.now, recorded.life);
        for operation in &mut recorded.operations[life..] {
            operation.returned.get_or_insert(now);
        }
        recorded.life = recorded.operations.len();
    }

    /// Everything noted.
    pub fn history(&self, log: Option<Log>) -> History {
        History { operations: self.lock().operations.clone(), log }
    }
}
