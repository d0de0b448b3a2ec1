//! The boxes of an MP4 file with one H.264 track.
//!
//! Enters: the sizes of the coded frames, which of them are key frames, the picture size and the speed. Leaves: the
//! bytes that stand before the coded frames (`ftyp`, `moov`, the head of `mdat`), so that a player can begin before
//! the file is there to its end ("fast start"). The frames themselves never pass through here: they may be larger than
//! memory. Box layouts after ISO/IEC 14496-12 (file format) and 14496-15 (`avcC`).

/// A video track, as far as its boxes need it.
#[derive(Debug)]
pub(super) struct Track {
    /// Width and height of the coded picture.
    pub(super) size: (u16, u16),
    /// Ticks per second.
    pub(super) timescale: u32,
    /// Ticks per frame.
    pub(super) ticks: u32,
    /// Sequence parameter set, without start code.
    pub(super) sps: Vec<u8>,
    /// Picture parameter set, without start code.
    pub(super) pps: Vec<u8>,
    /// Bytes of each coded frame.
    pub(super) sizes: Vec<u32>,
    /// Numbers of the key frames, from 0.
    pub(super) keys: Vec<u32>,
}

/// Ticks per second of the presentation as a whole, whatever the track's are.
const MOVIE_TIMESCALE: u32 = 1000;

/// No rotation, no scaling: the unit matrix in 16.16 and 2.30 fixed point.
const UNIT_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

impl Track {
    /// Everything that stands in the file before the coded frames.
    pub(super) fn head(&self) -> Vec<u8> {
        let ftyp = boxed(b"ftyp", &[b"isom", &0x200u32.to_be_bytes()[..], b"isomiso2avc1mp41"]);
        let payload: u64 = self.sizes.iter().map(|&bytes| u64::from(bytes)).sum();
        let mdat = match u32::try_from(payload + 8) {
            Ok(short) => [&short.to_be_bytes()[..], b"mdat"].concat(),
            Err(_) => [&1u32.to_be_bytes()[..], b"mdat", &(payload + 16).to_be_bytes()].concat(),
        };
        // The length of `moov` does not depend on the offset that it holds: once to measure, once for good.
        let offset = ftyp.len() + self.moov(0).len() + mdat.len();
        [ftyp, self.moov(offset as u32), mdat].concat()
    }

    /// Length of the track in units of `timescale`, as far as 32 bits reach.
    fn duration(&self, timescale: u32) -> u32 {
        let ticks = self.sizes.len() as u64 * u64::from(self.ticks);
        let scaled = ticks * u64::from(timescale) / u64::from(self.timescale);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }

    fn moov(&self, offset: u32) -> Vec<u8> {
        let mvhd = full_box(
            b"mvhd",
            0,
            &words(&[
                &[0, 0, MOVIE_TIMESCALE, self.duration(MOVIE_TIMESCALE)], // never a date: the same frames, the same bytes
                &[0x1_0000, 0x0100_0000, 0, 0],                           // rate 1, volume 1
                &UNIT_MATRIX,
                &[0, 0, 0, 0, 0, 0],
                &[2], // the next track's number
            ]),
        );
        boxed(b"moov", &[&mvhd, &self.trak(offset)])
    }

    fn trak(&self, offset: u32) -> Vec<u8> {
        let (width, height) = (u32::from(self.size.0) << 16, u32::from(self.size.1) << 16);
        let tkhd = full_box(
            b"tkhd",
            3, // enabled, in the movie
            &words(&[
                &[0, 0, 1, 0, self.duration(MOVIE_TIMESCALE)],
                &[0, 0, 0, 0], // reserved, layer, volume of a picture
                &UNIT_MATRIX,
                &[width, height],
            ]),
        );
        let language = 0x55c4u32; // `und`, packed in five bits per letter
        let mdhd =
            full_box(b"mdhd", 0, &words(&[&[0, 0, self.timescale, self.duration(self.timescale), language << 16]]));
        let hdlr = full_box(b"hdlr", 0, &[&[0; 4][..], b"vide", &[0; 12], b"VideoHandler\0"].concat());
        let dref = full_box(b"dref", 0, &[&1u32.to_be_bytes()[..], &full_box(b"url ", 1, &[])].concat());
        let minf = boxed(
            b"minf",
            &[&full_box(b"vmhd", 1, &[0; 8]), &boxed(b"dinf", &[&dref]), &boxed(b"stbl", &[&self.tables(offset)])],
        );
        boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &hdlr, &minf])])
    }

    /// The sample tables: all frames in one chunk, all of one length in time.
    fn tables(&self, offset: u32) -> Vec<u8> {
        let count = self.sizes.len() as u32;
        let stsd = full_box(b"stsd", 0, &[&1u32.to_be_bytes()[..], &self.avc1()].concat());
        let stts = full_box(b"stts", 0, &words(&[&[1, count, self.ticks]]));
        let numbers: Vec<u32> = self.keys.iter().map(|key| key + 1).collect();
        let stss = full_box(b"stss", 0, &words(&[&[numbers.len() as u32], &numbers]));
        let stsc = full_box(b"stsc", 0, &words(&[&[1, 1, count, 1]]));
        let stsz = full_box(b"stsz", 0, &words(&[&[0, count], &self.sizes]));
        let stco = full_box(b"stco", 0, &words(&[&[1, offset]]));
        [stsd, stts, stss, stsc, stsz, stco].concat()
    }

    fn avc1(&self) -> Vec<u8> {
        let (width, height) = (self.size.0.to_be_bytes(), self.size.1.to_be_bytes());
        let mut entry = vec![0; 6];
        entry.extend([0, 1]); // data reference 1: this file
        entry.extend([0; 16]);
        entry.extend(width.iter().chain(&height));
        entry.extend(words(&[&[0x48_0000, 0x48_0000, 0]])); // 72 dpi
        entry.extend([0, 1]); // one frame per sample
        entry.extend([0; 32]); // the compressor's name: none
        entry.extend([0, 24, 0xff, 0xff]); // 24 bit, no colour table
        let profile = self.sps.get(1..4).unwrap_or(&[66, 0xc0, 40]);
        let avcc = boxed(
            b"avcC",
            &[
                &[1][..],
                profile,
                &[0xff, 0xe1], // lengths of 4 bytes; one sequence parameter set
                &(self.sps.len() as u16).to_be_bytes(),
                &self.sps,
                &[1],
                &(self.pps.len() as u16).to_be_bytes(),
                &self.pps,
            ],
        );
        // Primaries, transfer and matrix of BT.709, limited range.
        let colr = boxed(b"colr", &[b"nclx", &[0, 1, 0, 1, 0, 1, 0]]);
        boxed(b"avc1", &[&entry, &avcc, &colr])
    }
}

/// A box: its length, its name, its parts.
fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend(name);
    parts.iter().for_each(|part| bytes.extend(*part));
    bytes
}

/// A box with version 0 and flags.
fn full_box(name: &[u8; 4], flags: u32, payload: &[u8]) -> Vec<u8> {
    boxed(name, &[&flags.to_be_bytes(), payload])
}

/// Numbers of four bytes, the most significant first.
fn words(runs: &[&[u32]]) -> Vec<u8> {
    runs.iter().flat_map(|run| run.iter()).flat_map(|word| word.to_be_bytes()).collect()
}
