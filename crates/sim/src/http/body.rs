//! A response body that can misbehave.
//!
//! hyper sends the frames that a [`Body`] gives it, so every faulty answer is a body: one without a known length
//! (sent in chunks), one that is sent slowly, one that breaks off.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The body of an answer.
pub(crate) struct ReplyBody {
    pieces: VecDeque<Bytes>,
    pace: BodyPace,
    ending: BodyEnding,
    /// Waited before a body breaks off.
    pause: Option<Pin<Box<Sleep>>>,
    pause_for: Duration,
    /// Whether the Content-Length header is sent; the real service sends it with errors, but not with good answers.
    sized: bool,
    /// Held until the last byte is sent: a call is in flight until its answer is complete.
    held: Option<Box<dyn Send + Sync>>,
}

enum BodyPace {
    AtOnce,
    Trickle { gap: Duration, sleep: Pin<Box<Sleep>> },
}

#[derive(Clone, Copy, PartialEq)]
enum BodyEnding {
    Good,
    BrokenOff,
}

/// hyper needs this long to send what comes before the break.
const PAUSE: Duration = Duration::from_millis(20);

impl ReplyBody {
    fn new(bytes: Bytes, sized: bool, ending: BodyEnding) -> Self {
        let pieces = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) };
        Self { pieces, pace: BodyPace::AtOnce, ending, pause: None, pause_for: PAUSE, sized, held: None }
    }

    /// With Content-Length.
    pub(crate) fn sized(bytes: impl Into<Bytes>) -> Self {
        Self::new(bytes.into(), true, BodyEnding::Good)
    }

    /// In chunks.
    pub(crate) fn chunked(bytes: impl Into<Bytes>) -> Self {
        Self::new(bytes.into(), false, BodyEnding::Good)
    }

    /// Half of the bytes, then the connection breaks.
    pub(crate) fn into_broken_off(mut self) -> Self {
        let bytes = self.pieces.pop_front().unwrap_or_default();
        let mut broken = Self::new(bytes.slice(..bytes.len() / 2), false, BodyEnding::BrokenOff);
        broken.held = self.held.take();
        broken
    }

    /// A body that breaks off after this long.
    pub(crate) fn stalling_for(mut self, time: Duration) -> Self {
        self.pause_for = time.max(PAUSE);
        self
    }

    /// The same length, but one byte in the middle is wrong.
    pub(crate) fn into_corrupt(mut self) -> Self {
        let mut bytes = self.pieces.pop_front().unwrap_or_default().to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
            self.pieces.push_front(bytes.into());
        }
        self
    }

    /// All of the bytes, sent one at a time over about `time`.
    pub(crate) fn into_trickle(mut self, time: Duration) -> Self {
        let bytes = self.pieces.pop_front().unwrap_or_default();
        // A timer is no finer than a millisecond, so long bodies are sent in steps of several bytes.
        let steps = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).clamp(1, bytes.len().max(1));
        let step = bytes.len().div_ceil(steps).max(1);
        self.pieces = (0..bytes.len())
            .step_by(step)
            .map(|start| bytes.slice(start..(start + step).min(bytes.len())))
            .collect();
        let gap = time / u32::try_from(self.pieces.len().max(1)).unwrap_or(u32::MAX);
        self.pace = BodyPace::Trickle { gap, sleep: Box::pin(tokio::time::sleep(gap)) };
        self.sized = false;
        self
    }

    pub(crate) fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.held = Some(Box::new(guard));
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let BodyPace::Trickle { gap, sleep } = &mut this.pace
            && !this.pieces.is_empty()
        {
            match sleep.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => sleep.as_mut().reset(Instant::now() + *gap),
            }
        }
        if let Some(piece) = this.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.ending == BodyEnding::BrokenOff {
            // hyper holds small answers back until the body ends. Without a pause, the error would overtake headers
            // and bytes, and the client would see a dropped connection instead of half an answer.
            let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.pause_for)));
            return pause.as_mut().poll(context).map(|()| {
                this.ending = BodyEnding::Good;
                Some(Err(io::Error::other("broken off by the scenario")))
            });
        }
        this.held = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.sized && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized {
            SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
