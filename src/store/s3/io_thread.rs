//! A thread that does a store's network I/O for all its callers.
//!
//! ```text
//! delivery's runtime ──┐                        ┌── connections
//! decoder's runtime  ──┼─► one runtime of ours ─┤
//! readiness          ──┘                        └── timers
//! ```
//!
//! Callers on several runtimes share the connections. On the runtime of one caller they would stall while that caller
//! decodes, and all would lose them when it ends. Here bytes keep arriving while a row group is decoded.

use tokio::task::JoinHandle;

use crate::io_thread::IoThread;

impl IoThread {
    /// Runs `work` there. Dropping the result stops it.
    pub(super) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Running<T> {
        Running(self.handle().spawn(work))
    }
}

/// Work under way on the thread.
#[derive(Debug)]
pub(super) struct Running<T>(JoinHandle<T>);

impl<T> Running<T> {
    /// The work's result, or `None` if it was broken off by a panic.
    pub(super) async fn done(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_runs_elsewhere_and_ends_with_its_taker() {
        let io = IoThread::start("s3").unwrap();
        let there = io.run(async { std::thread::current().name().map(str::to_owned) }).done().await;
        assert_eq!(there.unwrap().as_deref(), Some("s3"));

        let (alive, ended) = oneshot::channel::<()>();
        let running = io.run(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        drop(running);
        assert!(ended.await.is_err(), "dropped with the work that held it");
    }

    #[tokio::test]
    async fn broken_work_is_told_and_the_thread_goes_on() {
        let io = IoThread::start("s3").unwrap();
        assert_eq!(io.run(async { assert!(std::env::args().count() == 0) }).done().await, None);
        assert_eq!(io.run(async { 1 }).done().await, Some(1));
    }
}
