//! Threads that connections run on beside the caller's own.
//!
//! ```text
//! Push ──spawn──┬─► the caller's runtime        (all connections, unless more threads are asked for)
//!               ├─► thread, a runtime of its own
//!               └─► thread, a runtime of its own
//! ```
//!
//! Each thread has sockets and timers of its own; who may send next is decided in one place all the same
//! ([`Dispatch`](super::dispatch::Dispatch)).

use std::io;
use std::num::NonZeroUsize;

use tokio::task::JoinSet;

use crate::io_thread::IoThread;

/// The threads of one stage, beside the caller's. They end when this is dropped, and with them what still runs there.
#[derive(Debug)]
pub(super) struct Threads(Vec<IoThread>);

impl Threads {
    /// `all` threads, the caller's included.
    ///
    /// # Errors
    ///
    /// If the system gives no thread, or no runtime can be made on it.
    pub(super) fn start(all: NonZeroUsize) -> io::Result<Self> {
        (1..all.get()).map(|nth| IoThread::start(&format!("push-{nth}"))).collect::<io::Result<_>>().map(Self)
    }

    /// Runs the `nth` task on its thread: they take turns.
    pub(super) fn spawn(&self, tasks: &mut JoinSet<()>, nth: usize, task: impl Future<Output = ()> + Send + 'static) {
        match nth % (self.0.len() + 1) {
            0 => tasks.spawn(task),
            other => tasks.spawn_on(task, self.0[other - 1].handle()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn tasks_take_turns_on_the_threads_and_end_with_them() {
        let threads = Threads::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let on = Arc::new(Mutex::new(BTreeMap::<_, usize>::new()));
        let mut tasks = JoinSet::new();
        for nth in 0..7 {
            let on = on.clone();
            threads.spawn(&mut tasks, nth, async move {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                *on.lock().unwrap().entry(std::thread::current().name().map(str::to_owned)).or_default() += 1;
            });
        }
        threads.spawn(&mut tasks, 1, std::future::pending());
        for _ in 0..7 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let mut counts: Vec<usize> = on.lock().unwrap().values().copied().collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 2, 3]);
        drop(threads);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled(), "what still ran ends with its thread");
    }
}
