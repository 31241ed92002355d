//! The same rules wherever a state is: in a folder, in memory. `tests/live/replay.rs` has Postgres.

use std::fs;

use wsp::checkpoint::MemoryCheckpoints;
use wsp::clock::SystemClock;
use wsp::disk::RealDisk;
use wsp::store::StoreOptions;
use wsp::time::Micros;

use super::super::answered::{AnsweredRows, Standing};
use super::super::chain::Start;
use super::super::input::{InputSpec, resolve};
use super::form::StateName;
use super::*;

struct Case {
    dir: tempfile::TempDir,
    flags: Vec<Flag>,
    target: &'static str,
    /// In place of a folder.
    memory: Option<MemoryCheckpoints<Replays>>,
}

impl Case {
    fn new(memory: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        let memory = memory.then(MemoryCheckpoints::new);
        let case = Self { dir, flags: vec![("--time", "t".to_owned())], target: "http://a", memory };
        case.write("a.jsonl", "1");
        case.write("b.jsonl", "2");
        case
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("in").join(name), text).unwrap();
    }

    fn address(&self) -> Address {
        let Some(memory) = &self.memory else {
            return Address::folder(self.dir.path().join("state"), Arc::new(RealDisk));
        };
        Address {
            store: Arc::new(memory.clone()),
            name: StateName("replay-1".into()),
            shown: "memory".to_owned(),
            folder: None,
            outlives: Duration::ZERO,
        }
    }

    async fn open(&self, fresh: bool) -> Result<(State, Option<Saved>), String> {
        let spec = InputSpec::named(&format!("in={}", self.dir.path().join("in").display())).unwrap();
        let inputs = resolve(&[spec], None, &StoreOptions::default()).unwrap();
        let inputs: Vec<_> = inputs.into_iter().map(Arc::new).collect();
        let pinned = Pinned::new(self.target, &self.flags, &inputs).unwrap();
        let opening = Opening { place: None, name: "", pinned: &pinned, flags: &self.flags, fresh };
        opening.open_at(&self.address(), &SystemClock::new()).await.map_err(|error| error.to_string())
    }
}

fn saved(row: u64) -> Saved {
    let start = Start { file: 1, row, after: Some(Micros(7)) };
    let inputs = vec![Standing { start, answered: row, beyond: AnsweredRows::default() }];
    Saved { finished: false, inputs, written: Some(row) }
}

#[tokio::test]
async fn what_is_saved_is_there_for_the_next_start_alone() {
    for memory in [false, true] {
        let case = Case::new(memory);
        let (mut state, nothing) = case.open(false).await.unwrap();
        assert_eq!(nothing, None);
        state.save(saved(3)).await.unwrap();
        state.save(saved(4)).await.unwrap();
        assert!(case.open(false).await.unwrap_err().contains("another process"));
        drop(state);
        assert_eq!(case.open(false).await.unwrap().1, Some(saved(4)));
        assert_eq!(case.open(true).await.unwrap().1, None);
        assert_eq!(case.open(false).await.unwrap().1, None, "a fresh start has dropped it for good");
    }
}

#[tokio::test]
async fn what_has_changed_is_refused_by_name() {
    type Change = fn(&mut Case);
    let changes: [(&str, Change); 6] = [
        ("a.jsonl has changed since the earlier start (1 bytes then, 1 now)", |case| case.write("a.jsonl", "9")),
        ("a.jsonl has changed", |case| case.write("a.jsonl", "1\n")),
        ("2 files in the earlier start, 3 now", |case| case.write("c.jsonl", "")),
        ("aa.jsonl is there now where", |case| case.write("aa.jsonl", "")),
        ("--time: \"at\" now and \"t\" in the earlier start", |case| case.flags[0].1 = "at".to_owned()),
        ("--to: the state is of http://a", |case| case.target = "http://b"),
    ];
    for memory in [false, true] {
        for (words, change) in changes {
            let mut case = Case::new(memory);
            drop(case.open(false).await.unwrap());
            change(&mut case);
            let error = case.open(false).await.unwrap_err();
            assert!(error.contains(words) && error.contains("--fresh"), "{words}: {error}");
            case.open(true).await.unwrap();
            case.open(false).await.unwrap();
        }
    }
}

#[tokio::test]
async fn damaged_state_is_refused_and_a_fresh_start_replaces_it() {
    let case = Case::new(false);
    case.open(false).await.unwrap().0.save(saved(3)).await.unwrap();
    let folder = case.dir.path().join("state");
    let good = ["inputs.json", "cursors.json"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    for (name, from, to) in [
        ("cursors.json", "{", ""),
        ("cursors.json", "\"of\":\"", "\"of\":\"0"),
        ("cursors.json", "1970", "x"),
        ("cursors.json", "\"in\"", "\"out\""),
        ("cursors.json", "[]", "[[0,3,2]]"),
        ("cursors.json", "\"version\":1", "\"version\":2"),
        ("inputs.json", "\"version\": 1", "\"version\": 2"),
        ("inputs.json", "}", ""),
    ] {
        for (name, good) in ["inputs.json", "cursors.json"].iter().zip(&good) {
            fs::write(folder.join(name), good).unwrap();
        }
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(folder.join(name), text.replacen(from, to, 1)).unwrap();
        let error = case.open(false).await.unwrap_err();
        assert!(error.contains(name) && error.contains("--fresh"), "{from}: {error}");
        assert_eq!(case.open(true).await.unwrap().1, None, "{from}");
        assert_eq!(case.open(false).await.unwrap().1, None, "{from}");
    }
}

#[tokio::test]
async fn who_lost_a_state_saves_nothing_more_and_sends_nothing_more() {
    use wsp::checkpoint::LeaseState;
    let case = Case::new(false);
    let (mut first, _) = case.open(false).await.unwrap();
    fs::remove_file(case.dir.path().join("state/.lock")).unwrap();
    let (mut second, _) = case.open(false).await.unwrap();
    second.save(saved(5)).await.unwrap();
    let error = first.save(saved(4)).await.unwrap_err();
    assert!(error.to_string().contains("another process has taken over this state"), "{error}");
    assert!(matches!(first.lease().state(Duration::ZERO), LeaseState::Lost(_)));
    drop((first, second));
    assert_eq!(case.open(false).await.unwrap().1, Some(saved(5)));
}

#[tokio::test(start_paused = true)]
async fn the_hold_of_a_process_that_died_is_waited_out() {
    let case = Case::new(true);
    let (state, _) = case.open(false).await.unwrap();
    let address = Address { outlives: Duration::from_secs(15), ..case.address() };
    let clock = SystemClock::new();
    let dead = async {
        clock.sleep_until(Duration::from_secs(14)).await;
        drop(state);
    };
    let (taken, ()) = tokio::join!(super::taken(&address, &clock), dead);
    let scope = taken.unwrap();
    assert!(clock.now() < Duration::from_secs(15));
    assert!(matches!(super::taken(&address, &clock).await, Err(Error::Held { .. })), "one that lives is not");
    assert!(clock.now() > Duration::from_secs(30) && clock.now() < Duration::from_secs(33), "{:?}", clock.now());
    drop(scope);
}
