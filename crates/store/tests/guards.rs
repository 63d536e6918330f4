//! Keyspaces whose writers may write only while something holds.

use store::*;
use world::World;

fn holder(revision: Revision) -> Compare {
    Compare::CreateRevision { key: "leader".into(), op: Cmp::Equal, revision }
}

/// A writer is fenced with every kind of write from the moment its guard does not hold, whatever its transaction compares; and
/// what it was told before is what the same writes say without a guard.
#[test]
fn a_writer_whose_guard_does_not_hold_writes_nothing() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, Limits::default());
    simulation.block_on(async {
        let first = store.put("leader", "a").await.unwrap();
        let space = store.keyspace("/x/");
        let guarded = space.guarded(holder(first));
        let revision = guarded.put("k", "1").await.unwrap();
        assert_eq!(store.get("/x/k").await.unwrap().map(|kv| kv.mod_revision), Some(revision));
        let swap = |to: &str, at| {
            Txn::when(Compare::unchanged("k", at)).then(Op::put("k", to.to_owned())).or_else(Op::get("k"))
        };
        let lost = guarded.txn(swap("2", 1)).await.unwrap();
        assert_eq!((lost.succeeded, lost.revision), (false, revision), "its own comparison, not the guard's");
        assert!(matches!(&lost.results[..], [OpResult::Range(range)] if range.kvs[0].key == "k"), "{lost:?}");
        let won = guarded.txn(swap("2", revision)).await.unwrap();
        assert_eq!((won.succeeded, won.revision, won.results.len()), (true, revision + 1, 1));
        assert_eq!(guarded.delete(KeyRange::key("nothing")).await, Ok(0));

        store.delete(KeyRange::key("leader")).await.unwrap();
        let before = store.put("leader", "b").await.unwrap();
        assert_eq!(guarded.put("k", "3").await, Err(StoreError::Fenced));
        assert_eq!(guarded.delete(KeyRange::all()).await, Err(StoreError::Fenced));
        for at in [1, revision + 1] {
            assert_eq!(guarded.txn(swap("3", at)).await, Err(StoreError::Fenced));
        }
        assert_eq!(guarded.get("k").await.unwrap().map(|kv| kv.value), Some("2".into()), "reads are not guarded");
        assert_eq!(store.revision(), before, "nothing was written");
        let twice = space.guarded(holder(before)).guarded(holder(first));
        assert_eq!(twice.put("k", "3").await, Err(StoreError::Fenced), "all guards count");
        assert!(space.guarded(holder(before)).put("k", "3").await.is_ok());
    });
}
