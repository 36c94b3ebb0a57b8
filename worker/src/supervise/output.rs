//! Caps on what a framework prints: half of the head, half of the tail, and a line that says how much is missing between them.
//!
//! `cap` is for one test's output, which is there as a whole. `SessionOutput` is for the process's pipes: the head goes on at once, the tail
//! is kept until the session ends, since nobody knows before which part of the stream is the last. It never holds more than its cap.

use std::collections::VecDeque;

use crate::protocol::message::Slot;

/// Counted for each kept piece besides its bytes, so that a stream of single bytes cannot hold more memory than its cap allows.
const PIECE_COST: usize = 64;

/// The bytes, or their head and tail around a line that counts what was dropped.
pub(super) fn cap(bytes: &[u8], limit: u64, out: &mut Vec<u8>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if bytes.len() <= limit {
        out.extend_from_slice(bytes);
        return;
    }
    let half = limit / 2;
    out.extend_from_slice(&bytes[..half]);
    out.extend_from_slice(dropped_line(bytes.len() - 2 * half).as_bytes());
    out.extend_from_slice(&bytes[bytes.len() - half..]);
}

/// Shortens text to `limit` bytes at a character's border.
pub(super) fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}

fn dropped_line(dropped: usize) -> String {
    format!("\n[... {dropped} bytes dropped ...]\n")
}

/// Output of one kind that arrived while one thing ran.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stderr: bool,
    pub(super) at: Slot,
    pub(super) bytes: Vec<u8>,
}

/// The output of a session's process.
#[derive(Debug)]
pub(super) struct SessionOutput {
    head_left: usize,
    tail: VecDeque<Piece>,
    tail_cost: usize,
    tail_cap: usize,
    dropped: usize,
}

impl SessionOutput {
    pub(super) fn new(limit: u64) -> Self {
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        Self { head_left: half, tail: VecDeque::new(), tail_cost: 0, tail_cap: half, dropped: 0 }
    }

    /// Takes in what was read; gives what is to be sent on at once.
    pub(super) fn take(&mut self, stderr: bool, at: Slot, bytes: &[u8]) -> Option<Piece> {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_left));
        self.head_left -= head.len();
        self.keep(stderr, at, rest);
        (!head.is_empty()).then(|| Piece { stderr, at, bytes: head.to_vec() })
    }

    fn keep(&mut self, stderr: bool, at: Slot, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.tail.back_mut() {
            Some(last) if last.stderr == stderr && last.at == at && last.bytes.len() < 1 << 16 => last.bytes.extend_from_slice(bytes),
            _ => {
                self.tail.push_back(Piece { stderr, at, bytes: bytes.to_vec() });
                self.tail_cost += PIECE_COST;
            }
        }
        self.tail_cost += bytes.len();
        while self.tail_cost > self.tail_cap {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let excess = self.tail_cost - self.tail_cap;
        match self.tail.front_mut() {
            Some(first) if first.bytes.len() > excess => {
                first.bytes.drain(..excess);
                self.dropped += excess;
                self.tail_cost -= excess;
            }
            _ => {
                let bytes = self.tail.pop_front().map_or(0, |piece| piece.bytes.len());
                self.dropped += bytes;
                self.tail_cost -= bytes + PIECE_COST;
            }
        }
    }

    /// What was kept back, after the line that counts what is missing; and that count.
    pub(super) fn finish(&mut self) -> (Vec<Piece>, u64) {
        let mut pieces = Vec::new();
        if self.dropped > 0 {
            let (stderr, at) = self.tail.front().map_or((false, Slot::Idle), |first| (first.stderr, first.at));
            pieces.push(Piece { stderr, at, bytes: dropped_line(self.dropped).into_bytes() });
        }
        pieces.extend(self.tail.drain(..));
        (pieces, self.dropped as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capped(bytes: &[u8], limit: u64) -> String {
        let mut out = Vec::new();
        cap(bytes, limit, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn output_within_its_cap_is_untouched() {
        assert_eq!(capped(b"12345", 5), "12345");
    }

    #[test]
    fn output_over_its_cap_keeps_head_and_tail_and_says_what_is_missing() {
        assert_eq!(capped(b"123456789", 4), "12\n[... 5 bytes dropped ...]\n89");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shorten("aé".into(), 2), "a…");
        assert_eq!(shorten("aé".into(), 3), "aé");
    }

    #[test]
    fn the_head_goes_on_at_once_and_the_tail_at_the_end() {
        let mut output = SessionOutput::new(400);
        assert_eq!(output.take(false, Slot::Idle, &[b'a'; 150]).expect("head").bytes.len(), 150);
        assert_eq!(output.take(false, Slot::Idle, &[b'b'; 100]).expect("head").bytes.len(), 50);
        assert_eq!(output.take(false, Slot::Idle, &[b'c'; 20]), None);
        let (pieces, dropped) = output.finish();
        assert_eq!((pieces.len(), pieces[0].bytes.len(), dropped), (1, 70, 0));
    }

    #[test]
    fn a_flood_is_counted_and_never_held() {
        let mut output = SessionOutput::new(100_000);
        for n in 0..10_000_u32 {
            output.take(n % 2 == 0, Slot::Idle, &[b'x'; 100]);
            assert!(output.tail_cost <= 50_000);
        }
        let (pieces, dropped) = output.finish();
        let kept: usize = pieces.iter().skip(1).map(|piece| piece.bytes.len()).sum();
        assert_eq!(50_000 + kept + usize::try_from(dropped).expect("small"), 1_000_000);
        assert!(pieces[0].bytes.starts_with(b"\n[... "));
    }

    #[test]
    fn a_cap_of_nothing_drops_everything() {
        let mut output = SessionOutput::new(0);
        assert_eq!(output.take(false, Slot::Idle, b"abc"), None);
        assert_eq!(output.finish().1, 3);
    }
}
