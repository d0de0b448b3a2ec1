//! MP4 with H.264, by OpenH264.
//!
//! Enters: frames of any size. Leaves: a file that begins to play before it has arrived to its end, with the same bytes
//! for the same frames. Each coded frame goes to a scratch file beside the target at once; at the end the head is
//! written and the coded frames are copied behind it. What stays in memory is the index: 4 bytes per frame period.
//!
//! A frame that is held is coded again for each period, which costs next to nothing in the file: a constant frame rate
//! is what players, editors and slide programs all understand.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use image::RgbImage;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange, RateControlMode,
    UsageType, VuiConfig,
};
use openh264::{OpenH264API, Timestamp};

use super::mp4_boxes::Track;
use super::partial::{Partial, scratch};
use super::yuv::Yuv;
use super::{AnimationFormat, AnimationWriter, Announced, Written};
use crate::error::{Error, IoContext, Result};

/// The least side that OpenH264 codes.
const LEAST: u32 = 16;
/// OpenH264's limits for the longer and the shorter side.
const MOST: (u32, u32) = (3840, 2160);
/// The speed that the rate control is told, whatever the real one: what a frame may cost does not depend on how long it
/// is looked at.
const NOMINAL_FPS: u32 = 30;
/// Frames between two key frames: at most so many are decoded for a jump to any frame.
const KEY_EVERY: u32 = 24;
/// What a frame may cost, in bits per pixel: more than the finest quantiser needs for anything but noise.
const BITS_PER_PIXEL: u32 = 6;
/// Most bits per second, for pictures that level 4.1 of H.264 holds and for larger ones (5.2): the rate decides which
/// level the file claims, and hardware decoders refuse what is above theirs. (ITU-T H.264, table A-1.)
const MOST_BITS: (u32, u32) = (50_000_000, 240_000_000);
/// Pixels of the largest picture of level 4.1.
const PIXELS_OF_4_1: u32 = 8192 * 256;
/// The finest and the coarsest quantiser. With the finest, x264's `-qp 18` is matched within a fraction of a decibel.
const QUANTISER: (u8, u8) = (14, 40);
/// The finest quantiser for a frame that the first one fails on: pure noise, coded too finely, overruns OpenH264's
/// buffers.
const FALLBACK_QUANTISER: (u8, u8) = (24, 40);

/// Writes MP4.
pub(super) struct Mp4Writer {
    plan: Announced,
    partial: Partial,
    coded: BufWriter<File>,
    encoder: Encoder,
    geometry: Geometry,
    track: Track,
}

impl Mp4Writer {
    /// Begins a file.
    pub(super) fn create(plan: Announced) -> Result<Self> {
        let geometry = Geometry::of(plan.size);
        let (longer, shorter) = (geometry.width.max(geometry.height), geometry.width.min(geometry.height));
        if longer > MOST.0 || shorter > MOST.1 {
            let message = format!(
                "`{}` would be {}×{} pixels: H.264 is written up to {}×{}",
                plan.path.display(),
                plan.size.0,
                plan.size.1,
                MOST.0,
                MOST.1
            );
            return Err(Error::invalid(message, "magnify less, or write `webp` or `apng`"));
        }
        let encoder = encoder(&geometry, QUANTISER).map_err(|reason| plan.refused("OpenH264", reason))?;
        let partial = Partial::create(&plan.path)?;
        let coded = BufWriter::new(scratch(&plan.path)?);
        let track = Track {
            size: (geometry.width as u16, geometry.height as u16),
            timescale: (plan.fps * 1000.0).round() as u32,
            ticks: 1000,
            sps: Vec::new(),
            pps: Vec::new(),
            sizes: Vec::new(),
            keys: Vec::new(),
        };
        Ok(Mp4Writer { plan, partial, coded, encoder, geometry, track })
    }

    /// Codes one frame period.
    fn code(&mut self, picture: &Yuv) -> Result<()> {
        let number = self.track.sizes.len() as u64;
        let at = Timestamp::from_millis(number * 1000 / u64::from(NOMINAL_FPS));
        let first = match self.encoder.encode_at(picture, at) {
            Ok(stream) => Some((stream.to_vec(), stream.frame_type())),
            Err(_) => None,
        };
        let (stream, kind) = match first {
            Some(coded) => coded,
            None => {
                // What is in the encoder after a failure is not to be trusted: a new one begins with a key frame.
                let refused = |reason: openh264::Error| self.plan.refused("OpenH264", reason);
                let mut coarse = encoder(&self.geometry, FALLBACK_QUANTISER).map_err(refused)?;
                let stream = coarse.encode_at(picture, at).map_err(refused)?;
                let coded = (stream.to_vec(), stream.frame_type());
                self.encoder = encoder(&self.geometry, QUANTISER).map_err(refused)?;
                coded
            }
        };
        self.append(&stream, kind)
    }

    /// Takes a coded frame apart and writes it as MP4 wants it: the length of each unit instead of a start code, the
    /// parameter sets in the file's head.
    fn append(&mut self, stream: &[u8], kind: FrameType) -> Result<()> {
        let mut size = 0;
        for unit in openh264::nal_units(stream) {
            let payload = without_start_code(unit);
            match payload.first().map(|byte| byte & 0x1f) {
                Some(7) => self.parameters(payload, true)?,
                Some(8) => self.parameters(payload, false)?,
                Some(_) => {
                    let length = payload.len() as u32;
                    self.coded.write_all(&length.to_be_bytes()).at("write", &self.plan.path)?;
                    self.coded.write_all(payload).at("write", &self.plan.path)?;
                    size += 4 + length;
                }
                None => {}
            }
        }
        if size == 0 {
            return Err(self.plan.refused("OpenH264", "nothing: it left a frame out"));
        }
        if kind == FrameType::IDR {
            self.track.keys.push(self.track.sizes.len() as u32);
        }
        self.track.sizes.push(size);
        Ok(())
    }

    /// Keeps a sequence or picture parameter set: all key frames of a file share one of each.
    fn parameters(&mut self, found: &[u8], sequence: bool) -> Result<()> {
        let kept = if sequence { &mut self.track.sps } else { &mut self.track.pps };
        if kept.is_empty() {
            kept.extend(found);
        } else if kept != found {
            return Err(self.plan.refused("OpenH264", "other parameters in the middle than at the start"));
        }
        Ok(())
    }
}

impl AnimationWriter for Mp4Writer {
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        self.plan.admit(frame, hold)?;
        let picture = Yuv::from_rgb(frame, self.geometry.zoom, self.geometry.width, self.geometry.height);
        for _ in 0..hold {
            self.code(&picture)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let Mp4Writer { plan, partial, coded, track, geometry, .. } = *self;
        plan.not_empty()?;
        let path = &plan.path;
        let mut coded = coded.into_inner().map_err(|failed| failed.into_error()).at("write", path)?;
        coded.rewind().at("read back", path)?;
        let mut file = partial.writer()?;
        file.write_all(&track.head()).at("write", path)?;
        std::io::copy(&mut coded, &mut file).at("write", path)?;
        file.flush().at("write", path)?;
        drop(file);
        let bytes = partial.keep()?;
        let period = f64::from(track.ticks) / f64::from(track.timescale);
        let asked = plan.size;
        let mut written = plan.written(AnimationFormat::Mp4, period, bytes);
        written.size = (geometry.width, geometry.height);
        written.remarks.extend(geometry.remark(asked));
        Ok(written)
    }
}

/// How a frame becomes one that H.264 can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    /// How many times the frame is magnified, with hard pixels.
    zoom: u32,
    /// What it is then brought to by repeating the last row and column.
    width: u32,
    height: u32,
}

impl Geometry {
    /// Magnifies pictures under 16 pixels as far as the limits allow, and rounds up to even sides.
    fn of((width, height): (u32, u32)) -> Self {
        let wanted = LEAST.div_ceil(width.min(height));
        let allowed = (MOST.1 / width.max(height)).max(1);
        let zoom = wanted.min(allowed);
        let side = |length: u32| (length * zoom).next_multiple_of(2).max(LEAST);
        Geometry { zoom, width: side(width), height: side(height) }
    }

    /// What to tell the user, if the file differs from what was asked.
    fn remark(&self, (width, height): (u32, u32)) -> Option<String> {
        let how = if self.zoom > 1 { "magnified" } else { "padded" };
        let same = (width, height) == (self.width, self.height);
        (!same).then(|| {
            format!(
                "H.264 needs even sides of at least {LEAST} pixels: {width}×{height} is {how} to {}×{}",
                self.width, self.height
            )
        })
    }
}

/// An encoder for pictures of this geometry that takes the quantiser given.
fn encoder(geometry: &Geometry, (finest, coarsest): (u8, u8)) -> std::result::Result<Encoder, openh264::Error> {
    let pixels = geometry.width * geometry.height;
    let most = if pixels <= PIXELS_OF_4_1 { MOST_BITS.0 } else { MOST_BITS.1 };
    let rate = ((pixels * BITS_PER_PIXEL).max(400_000) * NOMINAL_FPS).min(most);
    let config = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime) // the only kind of camera video it accepts
        .rate_control_mode(RateControlMode::Bitrate) // with rate control off it ignores the quantiser
        .bitrate(BitRate::from_bps(rate))
        .max_frame_rate(FrameRate::from_hz(NOMINAL_FPS as f32))
        .qp(QpRange::new(finest, coarsest))
        .complexity(Complexity::High)
        .skip_frames(false)
        .num_threads(1) // with more, the same frames may give other bytes
        .adaptive_quantization(false)
        .background_detection(false)
        .scene_change_detect(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_EVERY))
        .vui(VuiConfig::bt709());
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config)?;
    quieten(&mut encoder);
    Ok(encoder)
}

/// Keeps OpenH264 from writing to standard error. The configuration's own switch takes hold only after the first
/// warnings (that without skipped frames the bit rate is not kept, which is what we want).
fn quieten(encoder: &mut Encoder) {
    /// `ENCODER_OPTION_TRACE_LEVEL` in OpenH264's `codec_app_def.h`.
    const TRACE_LEVEL: u32 = 25;
    let mut quiet: std::ffi::c_int = 0;
    // SAFETY: `set_option` reads one int through the pointer during the call, and this option, unlike the others, is
    // allowed before the encoder is initialised (welsEncoderExt.cpp, `CWelsH264SVCEncoder::SetOption`).
    unsafe {
        encoder.raw_api().set_option(TRACE_LEVEL as _, (&raw mut quiet).cast());
    }
}

/// A unit without the zeros and the one that announce it, nor the zeros that trail it.
fn without_start_code(unit: &[u8]) -> &[u8] {
    let begin = unit.iter().position(|&byte| byte != 0).map_or(unit.len(), |one| one + 1);
    let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    unit.get(begin..end).unwrap_or_default()
}
