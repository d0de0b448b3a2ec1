//! TensorBoard's event files: records of a length, its checksum, an `Event` as protobuf, and its checksum.
//!
//! Enters: numbers, PNGs and texts, step by step. Leaves: bytes that TensorBoard reads. The form is TensorFlow's:
//! `core/lib/io/record_writer.h` has the record, `tsl/lib/hash/crc32c.h` the masked checksum, `core/util/event.proto`,
//! `core/framework/summary.proto`, `tensor.proto` and `types.proto` the messages, whose field numbers stand in the code
//! below. Numbers, pictures and texts are written as `torch.utils.tensorboard` writes them. The crates that do the same
//! bring an old protobuf and an old `image` along.

use std::io::{Result, Write};

/// The first record of a file says this.
const FILE_VERSION: &str = "brain.Event:2";
/// Castagnoli's polynomial, its bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// Added to a rotated checksum, so that data which holds checksums can itself be summed.
const MASK: u32 = 0xa282_ead8;
/// `DT_STRING` of `types.proto`.
const DT_STRING: u64 = 7;

/// The classes of data of `summary.proto`: `DATA_CLASS_SCALAR` and so on. TensorBoard's fast reader keeps no description of
/// what has none.
const SCALAR: u64 = 1;
const TENSOR: u64 = 2;
const BLOB_SEQUENCE: u64 = 3;

/// What is shown of one step under one tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content<'a> {
    /// A point of a curve. The file holds it as f32.
    Scalar(f64),
    /// A picture: width, height, and the file's bytes.
    Png(u32, u32, &'a [u8]),
    /// A text in Markdown.
    Text(&'a str),
}

/// What is shown under a tag, and what the tag means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown<'a> {
    /// Its name; what stands before a `/` groups it with others.
    pub tag: &'a str,
    /// What TensorBoard says of the tag.
    pub about: &'a str,
    /// What is shown.
    pub content: Content<'a>,
}

/// Writes an event file.
#[derive(Debug)]
pub struct EventWriter<W> {
    out: W,
    wall_time: f64,
}

impl<W: Write> EventWriter<W> {
    /// Begins a file. `wall_time`, seconds since 1970, is that of every event.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(out: W, wall_time: f64) -> Result<Self> {
        let mut writer = EventWriter { out, wall_time };
        // Event: 1 wall_time, 2 step, 3 file_version, 5 summary.
        let event = Message::default().double(1, wall_time).bytes(3, FILE_VERSION.as_bytes());
        writer.record(&event.0)?;
        Ok(writer)
    }

    /// Writes what is shown of a step.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&mut self, step: usize, shown: &[Shown]) -> Result<()> {
        // Summary: 1 value, repeated.
        let summary = shown.iter().fold(Message::default(), |summary, shown| summary.bytes(1, &value(shown).0));
        let event = Message::default().double(1, self.wall_time).varint(2, step as u64).bytes(5, &summary.0);
        self.record(&event.0)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked_checksum(&length).to_le_bytes())?;
        self.out.write_all(data)?;
        self.out.write_all(&masked_checksum(data).to_le_bytes())
    }
}

/// Summary.Value: 1 tag, 2 simple_value, 4 image, 8 tensor, 9 metadata.
fn value(shown: &Shown) -> Message {
    let value = Message::default().bytes(1, shown.tag.as_bytes());
    // SummaryMetadata: 1 plugin_data, whose 1 is plugin_name; 3 summary_description; 4 data_class.
    let about = |plugin: &[u8], class: u64| {
        let plugin = Message::default().bytes(1, plugin);
        Message::default().bytes(1, &plugin.0).bytes(3, shown.about.as_bytes()).varint(4, class)
    };
    match shown.content {
        Content::Scalar(number) => value.float(2, number as f32).bytes(9, &about(b"scalars", SCALAR).0),
        Content::Png(width, height, png) => {
            // Summary.Image: 1 height, 2 width, 3 colorspace (3 is RGB), 4 encoded_image_string.
            let image = Message::default().varint(1, height.into()).varint(2, width.into()).varint(3, 3).bytes(4, png);
            value.bytes(4, &image.0).bytes(9, &about(b"images", BLOB_SEQUENCE).0)
        }
        Content::Text(text) => {
            // TensorShapeProto: 2 dim; its 1 is the size. TensorProto: 1 dtype, 2 tensor_shape, 8 string_val.
            let shape = Message::default().bytes(2, &Message::default().varint(1, 1).0);
            let tensor = Message::default().varint(1, DT_STRING).bytes(2, &shape.0).bytes(8, text.as_bytes());
            value.bytes(8, &tensor.0).bytes(9, &about(b"text", TENSOR).0)
        }
    }
}

/// A protobuf message that grows by a field at a time: a key of the field's number and its wire type, and the value.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.number(value);
        self
    }

    fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, 2);
        self.number(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.number(u64::from(field << 3 | wire_type));
    }

    /// Seven bits a byte, the lowest first; the eighth says that another follows.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The CRC-32C of the data, turned right by 15 bits and shifted by [`MASK`].
fn masked_checksum(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8);
    (!data.iter().fold(u32::MAX, step)).rotate_right(15).wrapping_add(MASK)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ CASTAGNOLI } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        // Appendix B.4: 32 bytes of zeroes, of ones, and counting up.
        let unmasked = |data: &[u8]| masked_checksum(data).wrapping_sub(MASK).rotate_left(15);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa);
        assert_eq!(unmasked(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(unmasked(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        // The example of protobuf's own description of its encoding: field 1 is 150.
        assert_eq!(Message::default().varint(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().bytes(2, b"testing").0, b"\x12\x07testing");
    }
}
