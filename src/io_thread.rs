//! Threads that do work for those who started them, and log where they do.

use std::io;
use std::thread::Builder;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

/// Does `work` on a thread of its own, whose logs go where those of this one go.
///
/// # Errors
///
/// If the system gives no thread.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let logs = tracing::dispatcher::get_default(Clone::clone);
    let logged = move || tracing::dispatcher::with_default(&logs, work);
    Builder::new().name(name.to_owned()).spawn(logged).map(drop)
}

/// A thread with a runtime, its own sockets and timers. Dropping it ends the thread and whatever it still does.
#[derive(Debug)]
pub struct IoThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl IoThread {
    /// A thread of this name.
    ///
    /// # Errors
    ///
    /// If the system gives no thread, or no runtime can be made on it.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread(name, move || {
            // Ends by the sender's drop.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// What spawns work there.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
