//! The terminal: progress in place, with logs and data above it.
//!
//! ```text
//! Telemetry ──5 times a second──► view ──► the last lines of stderr, drawn over each time
//! logs, verdicts ──aside──► above them
//! ```
//!
//! Where stderr is no terminal, or a dumb one, nothing is drawn; the log tells of progress then.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use terminal_size::{Height, Width, terminal_size_of};
use tracing_subscriber::fmt::MakeWriter;
use wsp::clock::Clock;
use wsp_world::telemetry::Telemetry;

use super::view::{self, Style};

/// Between two drawings.
const EVERY: Duration = Duration::from_millis(200);

/// The terminal that stderr is, if it is one that can be drawn on. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// Lines that are drawn; `None` where none ever are.
    drawn: Option<Arc<Mutex<usize>>>,
    style: Style,
}

impl Screen {
    /// Looks at stderr, `TERM` and `NO_COLOR`.
    pub(crate) fn of_stderr() -> Self {
        let (on, style) = drawable(&io::stderr());
        Self { drawn: on.then(Arc::default), style }
    }

    /// Whether progress is drawn.
    pub(crate) fn is_on(&self) -> bool {
        self.drawn.is_some()
    }

    /// Whether colours are welcome.
    pub(crate) fn color(&self) -> bool {
        self.style.color
    }

    /// Draws how the run stands, again and again, for as long as it is polled.
    pub(crate) async fn follow(&self, telemetry: &Telemetry, clock: &impl Clock) {
        let lines = |width| telemetry.status(clock).run.map(|run| view::lines(&run, width, self.style));
        self.show(clock, |width| lines(width).unwrap_or_default()).await;
    }

    /// Draws what `lines` says for a width, again and again, for as long as it is polled.
    pub(crate) async fn show(&self, clock: &impl Clock, lines: impl Fn(usize) -> Vec<String>) {
        if !self.is_on() {
            return std::future::pending().await;
        }
        loop {
            clock.sleep_until(clock.now() + EVERY).await;
            let (width, height) = size(io::stderr());
            let lines = lines(width);
            self.draw(&lines[..lines.len().min(height)]);
        }
    }

    /// Writes something else: the drawing makes room for it.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        let Some(drawn) = &self.drawn else { return write() };
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        // A terminal that is gone is not worth an error.
        let _ = io::stderr().write_all(over(&mut drawn, &[]).as_bytes());
        write()
    }

    fn draw(&self, lines: &[String]) {
        let Some(drawn) = &self.drawn else { return };
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        // In one write, so that it doesn't flicker. A terminal that is gone is not worth an error.
        let _ = io::stderr().write_all(over(&mut drawn, lines).as_bytes());
    }
}

/// Whether a stream is a terminal that can be drawn on, and how its text is set off: by the stream, `TERM` and `NO_COLOR`.
pub(crate) fn drawable(stream: &impl IsTerminal) -> (bool, Style) {
    let set = |name| std::env::var(name).is_ok_and(|text: String| !text.is_empty());
    let dumb = std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb");
    let on = stream.is_terminal() && !dumb;
    (on, Style { color: on && !set("NO_COLOR") })
}

/// What puts `lines` in place of the `drawn` ones: up, over each, and away with the rest.
fn over(drawn: &mut usize, lines: &[String]) -> String {
    let mut out = String::new();
    if *drawn > 0 {
        // Writing to a String can't fail.
        let _ = write!(out, "\x1b[{drawn}A");
    }
    for line in lines {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    if *drawn > lines.len() {
        out.push_str("\x1b[J");
    }
    *drawn = lines.len();
    out
}

/// Columns and rows to draw on; one column is left free, because a full line wraps on some terminals.
pub(crate) fn size(stream: impl AsFd) -> (usize, usize) {
    let (Width(columns), Height(rows)) = terminal_size_of(stream).unwrap_or((Width(80), Height(24)));
    (usize::from(columns).saturating_sub(1).max(1), usize::from(rows).saturating_sub(1).max(1))
}

/// Logs that go to stderr, above the drawing.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = Aside<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Aside { screen: self }
    }
}

/// See [`Screen::aside`]; a log line comes in one write.
pub(crate) struct Aside<'a> {
    screen: &'a Screen,
}

impl Write for Aside<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.screen.aside(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_over_those_before() {
        let lines = ["a", "b"].map(str::to_owned);
        let mut drawn = 0;
        assert_eq!(over(&mut drawn, &lines), "a\x1b[K\nb\x1b[K\n");
        assert_eq!(over(&mut drawn, &lines[..1]), "\x1b[2Aa\x1b[K\n\x1b[J");
        assert_eq!((over(&mut drawn, &[]).as_str(), drawn), ("\x1b[1A\x1b[J", 0));
        assert_eq!(over(&mut drawn, &[]), "");
    }
}
