//! New inputs out of old ones, from one seed.
//!
//! Owns the generator of numbers and the ways to change an input: bits, bytes, edges of numbers, cuts, copies, splices
//! of two inputs, words of the format, and for frames whole frames whose fields fit more or less. Nothing here looks at
//! coverage; what cargo-fuzz found with it lies in the corpus and is where this begins.

/// Numbers out of a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero; and neighbouring seeds are to differ at once.
        let mixed = seed
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(mixed | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when there is none.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            (self.next() >> 33) as usize % end
        }
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Inputs grow no longer than this.
const LONGEST: usize = 4096;

/// Makes inputs for one target.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
    dictionary: &'static [&'static [u8]],
    /// Bytes before the frames, for targets whose input is frames.
    frames: Option<usize>,
}

impl Mutator {
    /// For the target of this name, from its corpus.
    #[must_use]
    pub fn new(target: &str, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            corpus: super::corpus::inputs(target),
            dictionary: super::corpus::dictionary(target),
            frames: match target {
                "frames" => Some(1),
                // Chunks: the limit, then no cut. A connection: what comes first, and the size of chunks.
                "chunks" | "connection" => Some(2),
                _ => None,
            },
        }
    }

    /// The inputs that it begins with.
    #[must_use]
    pub fn corpus(&self) -> &[Vec<u8>] {
        &self.corpus
    }

    /// One more input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut bytes = match self.rng.below(16) {
            // Nothing but noise, or nothing at all.
            0 => self.noise(),
            1..=5 if self.frames.is_some() => self.frames(),
            _ if self.corpus.is_empty() => self.noise(),
            _ => {
                let index = self.rng.below(self.corpus.len());
                self.corpus[index].clone()
            }
        };
        // Frames as they were made, too: one wrong byte ends a connection.
        let least = usize::from(self.frames.is_none());
        for _ in 0..least + self.rng.below(6).saturating_sub(1 - least) {
            self.change(&mut bytes);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = match self.rng.below(4) {
            0 => self.rng.below(LONGEST),
            _ => self.rng.below(96),
        };
        (0..length).map(|_| self.rng.next() as u8).collect()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.below(bytes.len() + 1);
        let length = 1 + self.rng.below(16);
        let end = (at + length).min(bytes.len());
        match self.rng.below(10) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.rng.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.rng.next() as u8;
                }
            }
            2 => self.edge(bytes, at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = self.rng.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let some: Vec<u8> = (0..length).map(|_| self.rng.next() as u8).collect();
                bytes.splice(at..at, some);
            }
            6 => bytes.truncate(at),
            7 if !self.corpus.is_empty() => {
                let other = self.rng.below(self.corpus.len());
                let from = self.rng.below(self.corpus[other].len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&self.corpus[other][from..]);
            }
            _ if !self.dictionary.is_empty() => {
                let word = self.rng.pick(self.dictionary);
                let over = if self.rng.below(2) == 0 {
                    at
                } else {
                    (at + word.len()).min(bytes.len())
                };
                bytes.splice(at..over, word.iter().copied());
            }
            _ => bytes.push(self.rng.next() as u8),
        }
    }

    /// A number at an edge, or one off, in one, two or four bytes.
    fn edge(&mut self, bytes: &mut [u8], at: usize) {
        let edges = [
            0_u32,
            1,
            24,
            64,
            65,
            255,
            256,
            511,
            512,
            4096,
            4097,
            8192,
            8193,
            0x7fff_ffff,
            0xffff_ffff,
        ];
        let edge = edges[self.rng.below(edges.len())]
            .wrapping_add(self.rng.below(3) as u32)
            .wrapping_sub(1);
        let width = [1, 2, 4][self.rng.below(3)];
        for (place, byte) in bytes
            .iter_mut()
            .skip(at)
            .zip(edge.to_le_bytes().into_iter().take(width))
        {
            *place = byte;
        }
    }

    /// Frames of any kind whose parts mostly fit their lengths.
    fn frames(&mut self) -> Vec<u8> {
        let prefix = self.frames.unwrap_or_default();
        let mut bytes: Vec<u8> = (0..prefix).map(|_| self.rng.next() as u8).collect();
        for _ in 0..1 + self.rng.below(8) {
            self.frame(&mut bytes);
        }
        bytes
    }

    fn frame(&mut self, out: &mut Vec<u8>) {
        const KEYS: &[&[u8]] = &[
            b"",
            b"o",
            b"o\0m",
            b"math\0add",
            b"a.*\0**",
            b"sys.x",
            b"o\0",
            b"\0m",
            b"\xff",
        ];
        const METAS: &[&[u8]] = &[
            b"",
            b"\x05group\x01\x00g",
            b"\x08sys.name\x00\x00",
            b"\x01k\xff\xff",
            b"\x00\x00\x00",
        ];
        /// What a client may send.
        const CLIENT: &[u8] = &[
            0x04, 0x05, 0x09, 0x10, 0x11, 0x12, 0x14, 0x15, 0x17, 0x18, 0x20, 0x20, 0x21, 0x22, 0x23, 0x24,
            0x25, 0x26, 0x30, 0x31, 0x32, 0x32, 0x33, 0x39, 0x40, 0x41, 0x42, 0x46, 0x90,
        ];
        /// What it may not, or only once.
        const OTHER: &[u8] = &[
            0x01, 0x02, 0x03, 0x07, 0x08, 0x0a, 0x13, 0x16, 0x34, 0x35, 0x36, 0x37, 0x38, 0x44, 0x47, 0x80,
            0xff,
        ];
        let kind = match self.rng.below(32) {
            0 => self.rng.next() as u8,
            1 | 2 => OTHER[self.rng.below(OTHER.len())],
            _ => CLIENT[self.rng.below(CLIENT.len())],
        };
        let flags = match self.rng.below(16) {
            0 => self.rng.next() as u16,
            1..=4 => 1 << self.rng.below(8),
            _ => 0,
        };
        let (key, meta) = (self.rng.pick(KEYS), self.rng.pick(METAS));
        let mut body = Vec::new();
        if flags & 2 != 0 {
            body.extend((0..16).map(|_| self.rng.next() as u8));
        }
        if flags & 1 != 0 {
            body.extend((meta.len() as u16).to_le_bytes());
            body.extend_from_slice(meta);
        }
        body.extend_from_slice(key);
        let payload = self.rng.below(40);
        body.extend((0..payload).map(|_| self.rng.next() as u8));
        let off = if self.rng.below(24) == 0 {
            self.rng.below(3) as u32
        } else {
            1
        };
        let length = (body.len() as u32 + off).saturating_sub(1);
        out.extend(length.to_le_bytes());
        out.extend([kind, self.rng.below(4) as u8]);
        out.extend(flags.to_le_bytes());
        out.extend((self.rng.below(5) as u64).to_le_bytes());
        out.extend((self.rng.below(5) as u32).to_le_bytes());
        out.extend((key.len() as u16).to_le_bytes());
        out.extend([
            u8::from(self.rng.below(32) == 0),
            u8::from(self.rng.below(32) == 0),
        ]);
        out.extend_from_slice(&body);
    }
}
